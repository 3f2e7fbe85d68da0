//! A hub with HR, a terminal and helpers for people, schedules and punches.
//!
//! Tests use dates of March 2025: the 3rd is a Monday, and daylight saving time begins on the 30th.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::Connection;
use uuid::Uuid;

use crate::api::{Api, expect_status};
use crate::dir::TestDir;
use crate::hub::Hub;

/// The terminal of all punches.
pub const DEVICE: &str = "0123456789abcdef0123456789abcdef";
/// Inserts it as a terminal that has reported everything.
pub const TERMINAL: &str = "insert into terminals
    (device, name, state, certificate_sha256, expires_at, reported_through, created_at)
    values ('0123456789abcdef0123456789abcdef', 'Front door', 'accepted', ''::bytea,
        now() + interval '1 year', '2099-01-01', '2025-01-01')";

/// A pattern with the shift D from Monday to Friday.
pub fn week() -> Value {
    json!({"anchor": "2025-03-03", "cycle_days": 7, "days": [["D"], ["D"], ["D"], ["D"], ["D"], [], []]})
}

/// Fields are dropped in this order.
pub struct Company {
    pub hr: Api,
    pub hub: Hub,
    _dir: TestDir,
}

impl Company {
    /// Starts the hub and creates the account `hr` of Helen (900).
    pub async fn open() -> Result<Self> {
        let dir = TestDir::new()?;
        let hub = Hub::start_new(&dir)?;
        hub.cluster().execute(TERMINAL).await?;
        hub.must(&["person", "add", "900", "Helen"])?;
        hub.account("hr", "hr", Some("900"))?;
        Ok(Self { hr: Api::login(&hub, "hr").await?, hub, _dir: dir })
    }

    /// Adds people; the first is the manager of the second.
    pub async fn add_people(&self, people: &[(&str, &str)]) -> Result<()> {
        for (number, name) in people {
            let person = json!({"number": number, "name": name});
            expect_status(201, self.hr.post("/people", &person).await?)?;
        }
        if let [(manager, _), (number, _), ..] = people {
            let setting = json!({"manager": manager});
            expect_status(200, self.hr.patch(&format!("/people/{number}"), &setting).await?)?;
        }
        Ok(())
    }

    /// Creates an account and logs in.
    pub async fn login(&self, name: &str, role: &str, person: Option<&str>) -> Result<Api> {
        self.hub.account(name, role, person)?;
        Api::login(&self.hub, name).await
    }

    /// Creates the shift D, nine to six, and the schedule Week.
    pub async fn create_week_schedule(&self) -> Result<()> {
        let shift = json!({"start": "09:00", "end": "18:00"});
        expect_status(200, self.hr.put("/shifts/D", &shift).await?)?;
        expect_status(200, self.hr.put("/schedules/Week", &week()).await?)?;
        Ok(())
    }

    /// Assigns the schedule Week to a person for some days and recomputes these.
    pub async fn assign_week_schedule(&self, number: &str, from: &str, to: &str) -> Result<()> {
        let setting = json!({"schedule": "Week", "from": from, "to": to});
        expect_status(200, self.hr.put(&format!("/people/{number}/schedule"), &setting).await?)?;
        self.hub.must(&["recompute", "--from", from, "--to", to])?;
        Ok(())
    }

    /// Stores a punch at a local time and its job in one transaction, as the hub does.
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

    /// Stores punches of a person and waits for the workdays.
    pub async fn punches(&self, number: &str, times: &[&str]) -> Result<()> {
        for time in times {
            self.punch(number, time).await?;
        }
        self.hub.cluster().wait_until_computed().await
    }
}
