//! The hub's host: a name or an address, without a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rustls_pki_types::ServerName;
use serde::Deserialize;

/// A DNS name, an IPv4 address, or an IPv6 address (with or without brackets in the file).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Host(ServerName<'static>);

impl Host {
    pub fn server_name(&self) -> ServerName<'static> {
        self.0.clone()
    }

    /// With a port, as in a URL.
    pub fn at(&self, port: u16) -> String {
        match &self.0 {
            ServerName::IpAddress(address) => SocketAddr::new(IpAddr::from(*address), port).to_string(),
            _ => format!("{self}:{port}"),
        }
    }
}

/// Without brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let plain = inside.unwrap_or(&text);
        if inside.is_none() || plain.parse::<Ipv6Addr>().is_ok() {
            // Certificates name hosts without the trailing dot.
            let plain = plain.strip_suffix('.').unwrap_or(plain);
            if let Ok(address) = plain.parse::<IpAddr>() {
                return Ok(Self(ServerName::IpAddress(address.into())));
            }
            if let Ok(name) = ServerName::try_from(plain.to_owned()) {
                return Ok(Self(name));
            }
        }
        Err(format!("hub.host: {text:?} is {}", advice(&text)))
    }
}

fn advice(text: &str) -> &'static str {
    let port = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if text.contains("://") {
        "a URL: write the host alone, such as hub.example.com; the ports are hub.port and hub.https_port"
    } else if port(text) {
        "a host with a port: write the host alone; the ports are hub.port (MQTT) and hub.https_port"
    } else if text.contains('%') {
        "an address with a network interface: write a name, or an address without one"
    } else {
        "neither a host name nor an address: write one alone, such as hub.example.com, 192.0.2.7 or 2001:db8::7"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<Host, String> {
        Host::try_from(text.to_owned())
    }

    #[test]
    fn names_and_addresses_of_both_kinds_are_hosts() {
        for (text, plain, dialled) in [
            ("hub.example.com", "hub.example.com", "hub.example.com:8443"),
            ("hub.example.com.", "hub.example.com", "hub.example.com:8443"),
            ("hub_1", "hub_1", "hub_1:8443"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.7:8443"),
            ("::1", "::1", "[::1]:8443"),
            ("[2001:DB8::7]", "2001:db8::7", "[2001:db8::7]:8443"),
        ] {
            let host = host(text).expect(text);
            assert_eq!((host.to_string().as_str(), host.at(8443).as_str()), (plain, dialled));
        }
        let address = |text| matches!(host(text).expect(text).server_name(), ServerName::IpAddress(_));
        assert!(address("::1") && address("[::1]") && address("192.0.2.7") && !address("hub"));
    }

    #[test]
    fn what_is_no_host_is_rejected_with_advice() {
        for text in ["hub.example.com:8883", "192.0.2.7:8883", "[::1]:8443", "hub:1"] {
            let error = host(text).expect_err(text);
            assert!(error.contains("hub.port") && error.contains(text), "{error}");
        }
        assert!(host("https://hub.example.com").expect_err("a URL").contains("a URL"));
        assert!(host("fe80::1%eth0").expect_err("a zone").contains("interface"));
        for text in ["", " ", "hub/", "a b", "[hub]", "[192.0.2.7]", "::g", "1.2.3.4.5.", "-"] {
            assert!(host(text).expect_err(text).contains("alone"), "{text}");
        }
    }
}
