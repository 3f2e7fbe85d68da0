//! What was found about one thing.

use anyhow::Result;
use serde_json::json;

/// How one thing is.
pub enum State {
    Well,
    /// It works, but somebody should know.
    Note,
    Bad,
}

/// One thing that was looked at.
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub said: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

pub fn well(what: &'static str, said: String) -> Finding {
    Finding { what, state: State::Well, said, remedy: String::new() }
}

pub fn note(what: &'static str, said: String, remedy: &str) -> Finding {
    Finding { what, state: State::Note, said, remedy: remedy.into() }
}

pub fn bad(what: &'static str, said: String, remedy: &str) -> Finding {
    Finding { what, state: State::Bad, said, remedy: remedy.into() }
}

pub fn judge(what: &'static str, outcome: Result<String>, remedy: &str) -> Finding {
    match outcome {
        Ok(said) => well(what, said),
        Err(error) => bad(what, format!("{error:#}"), remedy),
    }
}

impl Finding {
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Well => "ok",
            State::Note => "note",
            State::Bad => "BAD",
        }
    }

    pub fn print(&self) {
        println!("{:4}  {:13}  {}", self.word(), self.what, self.said);
        if !self.remedy.is_empty() {
            println!("{:21}-> {}", "", self.remedy);
        }
    }

    pub fn json(&self) -> serde_json::Value {
        json!({ "check": self.what, "state": self.word().to_lowercase(), "found": self.said, "do": self.remedy })
    }
}
