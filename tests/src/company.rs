//! A company whose days are planned, judged and corrected.
//!
//! All dates of its tests are in March 2025: the 3rd is a Monday, and no clock is changed before the
//! 30th.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::Connection;
use uuid::Uuid;

use crate::api::{Api, answered};
use crate::ground::Ground;
use crate::hub::Hub;

/// The terminal of all punches. As long as no test says otherwise, it has reported everything.
pub const DEVICE: &str = "0123456789abcdef0123456789abcdef";
/// Puts it into the database.
pub const TERMINAL: &str = "insert into terminals
    (device, name, state, certificate_sha256, expires_at, reported_through, created_at)
    values ('0123456789abcdef0123456789abcdef', 'Front door', 'accepted', ''::bytea,
        now() + interval '1 year', '2099-01-01', '2025-01-01')";

/// A pattern that holds the shift D from Monday to Friday.
pub fn week() -> Value {
    json!({"anchor": "2025-03-03", "cycle_days": 7, "days": [["D"], ["D"], ["D"], ["D"], ["D"], [], []]})
}

/// A hub with one terminal, and HR at work. Fields are dropped in this order.
pub struct Company {
    /// The API for HR.
    pub hr: Api,
    /// The hub.
    pub hub: Hub,
    _ground: Ground,
}

impl Company {
    /// Starts the hub and gives HR, who is Helen (900), an account.
    pub async fn open() -> Result<Self> {
        let ground = Ground::new()?;
        let hub = Hub::start_new(&ground)?;
        hub.cluster().execute(TERMINAL).await?;
        hub.must(&["person", "add", "900", "Helen"])?;
        hub.account("hr", "hr", Some("900"))?;
        Ok(Self { hr: Api::open(&hub, "hr").await?, hub, _ground: ground })
    }

    /// Adds people, the first of whom is the manager of the second.
    pub async fn hire(&self, people: &[(&str, &str)]) -> Result<()> {
        for (number, name) in people {
            let person = json!({"number": number, "name": name});
            answered(201, self.hr.post("/people", &person).await?)?;
        }
        if let [(manager, _), (number, _), ..] = people {
            let setting = json!({"manager": manager});
            answered(200, self.hr.patch(&format!("/people/{number}"), &setting).await?)?;
        }
        Ok(())
    }

    /// Somebody who logs in to an account of their own.
    pub async fn login(&self, name: &str, role: &str, person: Option<&str>) -> Result<Api> {
        self.hub.account(name, role, person)?;
        Api::open(&self.hub, name).await
    }

    /// Makes the shift D, nine to six, and the schedule Week that holds it.
    pub async fn plan_a_week(&self) -> Result<()> {
        let shift = json!({"start": "09:00", "end": "18:00"});
        answered(200, self.hr.put("/shifts/D", &shift).await?)?;
        answered(200, self.hr.put("/schedules/Week", &week()).await?)?;
        Ok(())
    }

    /// Lets a person follow it for some days, and has these computed.
    pub async fn follow(&self, number: &str, from: &str, to: &str) -> Result<()> {
        let setting = json!({"schedule": "Week", "from": from, "to": to});
        answered(200, self.hr.put(&format!("/people/{number}/schedule"), &setting).await?)?;
        self.hub.must(&["recompute", "--from", from, "--to", to])?;
        Ok(())
    }

    /// A punch at a local time, stored as ingest does it: with its job, in one transaction.
    pub async fn punch(&self, number: &str, local: &str) -> Result<Uuid> {
        let mut database = self.hub.cluster().connect().await?;
        let mut transaction = database.begin().await?;
        let id: Uuid = sqlx::query_scalar(
            "insert into punches (id, device, epoch, seq, person, at, clock, direction, distance, hash)
            select gen_random_uuid(), $1, 1, (select count(*) + 1 from punches), p.id,
                $3::timestamp at time zone 'Europe/Berlin', 'synchronised', 'unknown', 0, ''::bytea
            from people p where p.number = $2 returning id",
        )
        .bind(DEVICE)
        .bind(number)
        .bind(local)
        .fetch_one(&mut *transaction)
        .await?;
        sqlx::query(
            "insert into jobs (person, from_date, to_date)
            select p.person, (p.at at time zone 'UTC')::date - 1, (p.at at time zone 'UTC')::date + 1
            from punches p where p.id = $1",
        )
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("select pg_notify('rollcall_job', '')").execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// Punches of one person, and the days that they make.
    pub async fn punches(&self, number: &str, times: &[&str]) -> Result<()> {
        for time in times {
            self.punch(number, time).await?;
        }
        self.hub.cluster().settled().await
    }
}
