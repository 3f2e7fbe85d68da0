//! Who may use an external Mosquitto: the list of its dynamic-security plugin, kept in step with the
//! terminals that are accepted.
//!
//! The list is derived: the database decides, and what is missing or too much in the list is put
//! right after each connection, each change, and every few minutes. Each accepted terminal has a
//! client and a role of its own, for topics of its own. A terminal that is revoked is deleted, which
//! ends its connection: one that is only disabled may come back, because the plugin is not asked
//! about certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use proto::DeviceId;
use rumqttc::{AsyncClient, QoS};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tracing::{info, warn};
use uuid::Uuid;

use crate::db;

/// Where commands go, and where their answers come.
const CONTROL: &str = "$CONTROL/dynamic-security/v1";
/// The answers' topic.
pub const ANSWERS: &str = "$CONTROL/dynamic-security/v1/response";
/// How long an answer may take: each change rewrites the whole list.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whatever was missed is put right by then.
const AGAIN: Duration = Duration::from_mins(5);
/// After something failed.
const RETRY: Duration = Duration::from_secs(2);
/// Terminals in one message: the broker does nothing else meanwhile.
const TOGETHER: usize = 5;
/// Clients in one page of the list.
const PAGE: usize = 500;
/// What is no failure: another hub was faster.
const HARMLESS: [&str; 5] = [
    "Role already exists",
    "Client already exists",
    "Client not found",
    "Role not found",
    "Internal error", // the client has the role
];

/// Keeps the list.
pub struct AccessList {
    /// The hub's own connection.
    pub client: AsyncClient,
    /// Answers to commands.
    pub answers: mpsc::Receiver<Vec<u8>>,
    /// Told when the connection stands.
    pub connected: mpsc::Receiver<()>,
    /// Who is accepted.
    pub pool: PgPool,
    /// Terminals of which something changed; `None`: any of them.
    pub changed: broadcast::Receiver<Option<DeviceId>>,
}

impl AccessList {
    /// Keeps the list until the connection's task is gone.
    pub async fn serve(mut self) -> Result<()> {
        let mut wait = AGAIN;
        loop {
            let device = tokio::select! {
                connected = self.connected.recv() => match connected {
                    Some(()) => None,
                    None => return Ok(()),
                },
                changed = self.changed.recv() => match changed {
                    Ok(device) => device,
                    Err(broadcast::error::RecvError::Lagged(_)) => None,
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                () = tokio::time::sleep(wait) => None,
            };
            let done = match &device {
                Some(device) => self.one(device).await,
                None => self.all().await,
            };
            wait = if done.is_ok() { AGAIN } else { RETRY };
            if let Err(error) = done {
                warn!(
                    error = format!("{error:#}"),
                    "the broker's list of terminals is not in step; trying again"
                );
            }
        }
    }

    /// One terminal was accepted or revoked.
    async fn one(&mut self, device: &DeviceId) -> Result<()> {
        let accepted = self.accepted().await?.contains(device.as_str());
        let name = device.as_str().to_owned();
        if accepted { self.add(&[name]).await } else { self.remove(&[name]).await }
    }

    /// Compares everybody.
    async fn all(&mut self) -> Result<()> {
        let accepted = self.accepted().await?;
        let listed = self.listed().await?;
        let whole = |name: &String| listed.get(name).is_some_and(|roles| *roles == [role(name)]);
        let surplus: Vec<String> =
            listed.keys().filter(|name| !accepted.contains(*name) || !whole(name)).cloned().collect();
        let lacking: Vec<String> = accepted.into_iter().filter(|name| !whole(name)).collect();
        if surplus.is_empty() && lacking.is_empty() {
            return Ok(());
        }
        for names in surplus.chunks(TOGETHER) {
            self.remove(names).await?;
        }
        for names in lacking.chunks(TOGETHER) {
            self.add(names).await?;
        }
        info!(added = lacking.len(), removed = surplus.len(), "the broker's list of terminals is in step");
        Ok(())
    }

    async fn accepted(&self) -> Result<BTreeSet<String>> {
        Ok(db::terminals::accepted(&mut *self.pool.acquire().await?).await?.into_iter().collect())
    }

    /// The terminals in the list, with their roles. Hubs and others are nobody's business here.
    async fn listed(&mut self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut listed = BTreeMap::new();
        for offset in (0..).step_by(PAGE) {
            let ask = json!({"command": "listClients", "verbose": true, "count": PAGE, "offset": offset});
            let answer = self.command(vec![ask]).await?;
            let clients =
                answer[0]["data"]["clients"].as_array().context("an answer without clients")?.clone();
            for client in &clients {
                let name = client["username"].as_str().unwrap_or_default();
                let roles = client["roles"].as_array().map_or(&[][..], Vec::as_slice);
                let roles = roles.iter().filter_map(|role| role["rolename"].as_str()).map(str::to_owned);
                if name.parse::<DeviceId>().is_ok() {
                    listed.insert(name.to_owned(), roles.collect());
                }
            }
            if clients.len() < PAGE {
                break;
            }
        }
        Ok(listed)
    }

    async fn add(&mut self, names: &[String]) -> Result<()> {
        // In this order: what gives a role last ends a connection that stood without one.
        let commands = names.iter().flat_map(|name| {
            let topic = |way: &str| format!("/tenants/{name}/{way}/#");
            let allow = |kind: &str, topic: String| json!({"acltype": kind, "topic": topic, "priority": 0, "allow": true});
            let acls = [
                allow("publishClientSend", topic("up")),
                allow("subscribePattern", topic("down")),
                allow("publishClientReceive", topic("down")),
            ];
            [
                json!({"command": "createRole", "rolename": role(name), "acls": acls}),
                json!({"command": "createClient", "username": name}),
                json!({"command": "addClientRole", "username": name, "rolename": role(name)}),
            ]
        });
        self.command(commands.collect()).await.map(drop)
    }

    async fn remove(&mut self, names: &[String]) -> Result<()> {
        let commands = names.iter().flat_map(|name| {
            [
                json!({"command": "deleteClient", "username": name}),
                json!({"command": "deleteRole", "rolename": role(name)}),
            ]
        });
        self.command(commands.collect()).await.map(drop)
    }

    /// Has the broker do something, and waits for its answers.
    async fn command(&mut self, mut commands: Vec<Value>) -> Result<Vec<Value>> {
        let mark = Uuid::new_v4().to_string();
        for command in &mut commands {
            command["correlationData"] = json!(mark);
        }
        let text = json!({"commands": commands}).to_string();
        self.client.try_publish(CONTROL, QoS::AtLeastOnce, false, text).context("the connection is busy")?;
        let answers = timeout(PATIENCE, async {
            loop {
                let bytes = self.answers.recv().await.context("the connection is gone")?;
                let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let answers = answer["responses"].as_array().cloned().unwrap_or_default();
                // Every hub hears the answers to every hub.
                if answers.iter().any(|answer| answer["correlationData"] == mark) {
                    return anyhow::Ok(answers);
                }
            }
        });
        let answers =
            answers.await.context("the broker does not answer: has it the dynamic-security plugin?")??;
        for answer in &answers {
            if let Some(error) = answer["error"].as_str().filter(|error| !HARMLESS.contains(error)) {
                bail!("{}: {error}", answer["command"].as_str().unwrap_or("a command"));
            }
        }
        Ok(answers)
    }
}

fn role(name: &str) -> String {
    format!("terminal-{name}")
}
