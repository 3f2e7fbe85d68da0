//! Commands of the hub, each executed at most once, even across a power cut.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use proto::{Command, CommandKind};
use tracing::{error, warn};
use uuid::Uuid;

use crate::identity::fs::replace;

/// Ids that are kept: the hub repeats a command until it knows that it was done.
const KEPT: usize = 64;

pub struct Commands {
    file: PathBuf,
    done: VecDeque<Uuid>,
}

impl Commands {
    /// Reads the ids in the folder `state`.
    pub fn open(state: &Path) -> Self {
        let file = state.join("done");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self { done: text.lines().filter_map(|line| line.parse().ok()).collect(), file }
    }

    /// Their ids, as a hello carries them.
    pub fn done(&self) -> Vec<Vec<u8>> {
        self.done.iter().map(|id| id.as_bytes().to_vec()).collect()
    }

    /// Returns the commands to execute. They count as done from here on, so that one that a power cut interrupts is
    /// not executed twice. One whose id can't be written, or that expires by `at_us` (the latest that the hub's
    /// clock can show, in microseconds since 1970), is left out.
    pub fn accept(&mut self, commands: Vec<Command>, at_us: i64) -> Vec<CommandKind> {
        commands.into_iter().filter_map(|command| self.start(&command, at_us)).collect()
    }

    fn start(&mut self, command: &Command, at_us: i64) -> Option<CommandKind> {
        let id = Uuid::from_slice(&command.id).ok()?;
        if self.done.contains(&id) {
            return None;
        }
        if command.expires_us <= at_us {
            warn!(command.id = %id, "expired command ignored");
            return None;
        }
        self.done.push_back(id);
        let surplus = self.done.len().saturating_sub(KEPT);
        let dropped: Vec<Uuid> = self.done.drain(..surplus).collect();
        let text = self.done.iter().map(Uuid::to_string).collect::<Vec<_>>().join("\n");
        if let Err(error) = replace(&self.file, text.as_bytes(), 0o644) {
            error!(command.id = %id, error = format!("{error:#}"), "cannot record a command; it is not executed until the hub repeats it");
            self.done.pop_back();
            dropped.into_iter().rev().for_each(|id| self.done.push_front(id));
            return None;
        }
        match command.kind() {
            CommandKind::Nothing => {
                warn!(command.id = %id, kind = command.kind, "unknown command ignored; update this terminal");
                None
            }
            kind => Some(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_taken_once_over_restarts() {
        let state = tempfile::tempdir().expect("folder");
        let command = |id: u128, kind: CommandKind| Command {
            id: Uuid::from_u128(id).as_bytes().to_vec(),
            kind: kind.into(),
            expires_us: 1000,
        };
        let mut commands = Commands::open(state.path());
        assert!(commands.accept(vec![command(1, CommandKind::Open)], 1000).is_empty(), "too late");
        let two = vec![command(1, CommandKind::Identify), command(2, CommandKind::Resync)];
        assert_eq!(commands.accept(two.clone(), 999), [CommandKind::Identify, CommandKind::Resync]);
        assert!(commands.accept(two.clone(), 999).is_empty());
        let mut commands = Commands::open(state.path());
        assert!(commands.accept(two, 999).is_empty());
        assert_eq!(commands.done().len(), 2);
        assert!(commands.accept(vec![Command { id: vec![1], kind: 1, expires_us: 1000 }], 0).is_empty());
        assert!(commands.accept(vec![Command { id: vec![9; 16], kind: 77, expires_us: 1000 }], 0).is_empty());
    }
}
