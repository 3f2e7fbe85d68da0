//! MQTT as the rest of the hub sees it: what terminals published comes in, messages for them go
//! out. The broker is the hub's own (`embedded`) or another one (`external`).
//!
//! Nothing relies on a broker: not on its memory, and not on who it says published. Every message
//! is signed by whoever made it.

mod connection;
mod embedded;
mod external;
mod mosquitto_acl;
pub mod rejections;
mod sessions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use proto::sign::Signer;
use proto::{DeviceId, Topic};
use rumqttd::local::LinkTx;

pub use crate::mqtt::embedded::Embedded;
pub use crate::mqtt::external::{AccessListKeeper, External, Settings};

/// A message that was published on a terminal's topic.
pub struct Message {
    /// Whose topic: by its certificate in the embedded broker, by the topic's name in another.
    pub device: DeviceId,
    /// On which of its topics.
    pub topic: Topic,
    /// What it says, signed.
    pub payload: Vec<u8>,
}

/// Publishes to terminals, signed by the hub. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    route: Route,
    signer: Arc<Signer>,
}

#[derive(Clone)]
enum Route {
    Embedded(Arc<Mutex<LinkTx>>),
    External(rumqttc::AsyncClient, Arc<AtomicBool>),
}

impl Publisher {
    /// Signs a message and hands it to the broker; whether it arrives is not known.
    pub fn publish(&self, device: &DeviceId, topic: Topic, body: Vec<u8>) -> Result<()> {
        let message = self.signer.sign(topic, device, body);
        match &self.route {
            Route::Embedded(link) => {
                let mut link = link.lock();
                link.publish(topic.of(device), message).context("the broker's router is gone")?;
            }
            Route::External(client, stands) => {
                ensure!(stands.load(Ordering::Acquire), "there is no connection to the broker");
                let sent = client.try_publish(topic.of(device), rumqttc::QoS::AtMostOnce, false, message);
                sent.context("the broker does not take what is sent")?;
            }
        }
        Ok(())
    }
}
