//! The section `[door]`: pins and their wiring.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Door {
    /// Signals are logged.
    Log {},
    Gpio(Gpio),
}

impl Default for Door {
    fn default() -> Self {
        Self::Log {}
    }
}

/// Pins that are left out are not used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gpio {
    pub backend: Backend,
    /// For gpiocdev; default /dev/gpiochip0.
    pub chip: Option<PathBuf>,
    /// Lit for a second after a punch is durable.
    pub green: Option<Pin>,
    /// Lit while something is wrong.
    pub red: Option<Pin>,
    /// Sounds for a tenth of a second with the green light.
    pub buzzer: Option<Pin>,
    pub relay: Option<Pin>,
    /// Opens the door from inside. Active low unless configured otherwise.
    pub exit_button: Option<Pin>,
    /// Opens with the terminal's case: a contact to ground, so that a cut wire counts as opened.
    pub tamper: Option<Pin>,
    pub lock: Lock,
    /// Seconds that the door stays open.
    pub open_s: Option<u64>,
    /// Whether a punch opens the door. A photo held to the lens opens it, too.
    pub punches_open: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// rppal on a Raspberry Pi whose pins it may open, else gpiocdev.
    #[default]
    Auto,
    /// The registers of a Raspberry Pi; pins in BCM numbering.
    Rppal,
    /// The kernel's character device; pins are the lines of its chip.
    Gpiocdev,
}

/// The lock without current.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// Locked: the relay opens it.
    #[default]
    FailSecure,
    /// Open, as escape routes need it: the relay keeps it locked.
    FailSafe,
}

/// A pin: its number, or `{ pin = 17, active_low = true }`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged, expecting = "a pin is its number, or { pin = 17, active_low = true }")]
pub enum Pin {
    /// With the default polarity of its kind.
    Number(u8),
    Wired(Wired),
}

/// A pin with its polarity.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Wired {
    pub pin: u8,
    pub active_low: bool,
}

impl Pin {
    /// With the default polarity where none is configured.
    pub fn wired(self, default_low: bool) -> Wired {
        match self {
            Self::Number(pin) => Wired { pin, active_low: default_low },
            Self::Wired(wired) => wired,
        }
    }
}

impl Gpio {
    const OPEN_S: u64 = 3;

    pub fn open_s(&self) -> u64 {
        self.open_s.unwrap_or(Self::OPEN_S)
    }

    pub fn chip(&self) -> PathBuf {
        self.chip.clone().unwrap_or_else(|| "/dev/gpiochip0".into())
    }

    /// Every pin with the name of its key.
    pub fn pins(&self) -> impl Iterator<Item = (&'static str, Pin)> {
        let all = [
            ("green", self.green),
            ("red", self.red),
            ("buzzer", self.buzzer),
            ("relay", self.relay),
            ("exit_button", self.exit_button),
            ("tamper", self.tamper),
        ];
        all.into_iter().filter_map(|(name, pin)| Some((name, pin?)))
    }
}

impl Door {
    pub fn check(&self) -> Result<()> {
        let Self::Gpio(gpio) = self else { return Ok(()) };
        let pins: Vec<(&str, u8)> = gpio.pins().map(|(name, pin)| (name, pin.wired(false).pin)).collect();
        ensure!(!pins.is_empty(), "door.kind is gpio, but no pin is set: green, red, buzzer, relay, ...");
        for (at, (name, pin)) in pins.iter().enumerate() {
            let taken = pins[..at].iter().find(|(_, other)| other == pin);
            ensure!(
                taken.is_none(),
                "door.{name} and door.{} must not be the same pin",
                taken.map_or("", |t| t.0)
            );
        }
        ensure!((1..=60).contains(&gpio.open_s()), "door.open_s must be between 1 and 60 seconds");
        let opens = gpio.exit_button.is_some() || gpio.punches_open;
        ensure!(gpio.relay.is_some() || !opens, "door.exit_button and door.punches_open need door.relay");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Door> {
        let door: Door = toml::from_str(text)?;
        door.check().map(|()| door)
    }

    #[test]
    fn a_pin_is_a_number_or_says_its_polarity() {
        let text = "kind = 'gpio'\ngreen = 17\nrelay = { pin = 23, active_low = true }\nlock = 'fail-safe'";
        let Door::Gpio(gpio) = read(text).expect("good") else { panic!("pins") };
        assert_eq!(gpio.green.map(|pin| pin.wired(false)), Some(Wired { pin: 17, active_low: false }));
        assert_eq!(gpio.relay.map(|pin| pin.wired(false)), Some(Wired { pin: 23, active_low: true }));
        assert_eq!((gpio.lock, gpio.open_s(), gpio.punches_open), (Lock::FailSafe, 3, false));
    }

    #[test]
    fn contradictions_are_rejected() {
        for text in [
            "kind = 'gpio'",
            "kind = 'gpio'\ngreen = 17\nred = 17",
            "kind = 'gpio'\nexit_button = 5",
            "kind = 'gpio'\ngreen = 17\npunches_open = true",
            "kind = 'gpio'\nrelay = 17\nopen_s = 0",
            "kind = 'gpio'\nrelay = { pin = 23, active_lo = true }",
            "kind = 'log'\ngreen = 17",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
