//! The result of one check.

use anyhow::Result;
use serde_json::json;

pub enum State {
    Ok,
    /// Works, but worth knowing.
    Note,
    Bad,
}

pub struct Finding {
    pub what: &'static str,
    pub state: State,
    pub found: String,
    /// What to do; may be empty.
    pub remedy: String,
}

pub fn ok(what: &'static str, found: String) -> Finding {
    Finding { what, state: State::Ok, found, remedy: String::new() }
}

pub fn note(what: &'static str, found: String, remedy: &str) -> Finding {
    Finding { what, state: State::Note, found, remedy: remedy.into() }
}

pub fn bad(what: &'static str, found: String, remedy: &str) -> Finding {
    Finding { what, state: State::Bad, found, remedy: remedy.into() }
}

pub fn from_result(what: &'static str, outcome: Result<String>, remedy: &str) -> Finding {
    match outcome {
        Ok(found) => ok(what, found),
        Err(error) => bad(what, format!("{error:#}"), remedy),
    }
}

impl Finding {
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Ok => "ok",
            State::Note => "note",
            State::Bad => "BAD",
        }
    }

    pub fn print(&self) {
        println!("{:4}  {:13}  {}", self.word(), self.what, self.found);
        if !self.remedy.is_empty() {
            println!("{:21}-> {}", "", self.remedy);
        }
    }

    pub fn json(&self) -> serde_json::Value {
        json!({ "check": self.what, "state": self.word().to_lowercase(), "found": self.found, "do": self.remedy })
    }
}
