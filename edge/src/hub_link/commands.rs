//! What the hub tells this terminal to do: each command once, even if the power fails meanwhile.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use proto::{Command, CommandKind};
use tracing::{error, warn};
use uuid::Uuid;

use crate::identity::fs::replace;

/// Commands that are remembered as done: the hub offers them until it has heard so.
const REMEMBERED: usize = 64;

/// The commands that were done.
pub struct Errands {
    file: PathBuf,
    done: VecDeque<Uuid>,
}

impl Errands {
    /// Those that the folder `state` remembers.
    pub fn open(state: &Path) -> Self {
        let file = state.join("done");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self { done: text.lines().filter_map(|line| line.parse().ok()).collect(), file }
    }

    /// Their ids, as a hello carries them.
    pub fn done(&self) -> Vec<Vec<u8>> {
        self.done.iter().map(|id| id.as_bytes().to_vec()).collect()
    }

    /// What is to be done now. It counts as done from here on: a command that the power cut
    /// interrupts is not carried out twice. One that can't be remembered is not carried out, nor one
    /// that it is too late for: `at_us` is the latest that the hub's clock can show, microseconds
    /// since 1970.
    pub fn take(&mut self, commands: Vec<Command>, at_us: i64) -> Vec<CommandKind> {
        commands.into_iter().filter_map(|command| self.begin(&command, at_us)).collect()
    }

    fn begin(&mut self, command: &Command, at_us: i64) -> Option<CommandKind> {
        let id = Uuid::from_slice(&command.id).ok()?;
        if self.done.contains(&id) {
            return None;
        }
        if command.expires_us <= at_us {
            warn!(command.id = %id, "a command that came too late is not carried out");
            return None;
        }
        self.done.push_back(id);
        let surplus = self.done.len().saturating_sub(REMEMBERED);
        let forgotten: Vec<Uuid> = self.done.drain(..surplus).collect();
        let text = self.done.iter().map(Uuid::to_string).collect::<Vec<_>>().join("\n");
        if let Err(error) = replace(&self.file, text.as_bytes(), 0o644) {
            error!(command.id = %id, error = format!("{error:#}"), "a command is left for later");
            self.done.pop_back();
            forgotten.into_iter().rev().for_each(|id| self.done.push_front(id));
            return None;
        }
        match command.kind() {
            CommandKind::Nothing => {
                warn!(command.id = %id, kind = command.kind, "a command that this release does not know");
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
        let mut errands = Errands::open(state.path());
        assert!(errands.take(vec![command(1, CommandKind::Open)], 1000).is_empty(), "too late");
        let two = vec![command(1, CommandKind::Identify), command(2, CommandKind::Resync)];
        assert_eq!(errands.take(two.clone(), 999), [CommandKind::Identify, CommandKind::Resync]);
        assert!(errands.take(two.clone(), 999).is_empty());
        let mut errands = Errands::open(state.path());
        assert!(errands.take(two, 999).is_empty());
        assert_eq!(errands.done().len(), 2);
        assert!(errands.take(vec![Command { id: vec![1], kind: 1, expires_us: 1000 }], 0).is_empty());
        assert!(errands.take(vec![Command { id: vec![9; 16], kind: 77, expires_us: 1000 }], 0).is_empty());
    }
}
