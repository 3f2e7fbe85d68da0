//! The thread that owns the store: groups appends, reopens the store after errors, salvages a damaged one, and refuses
//! punches when there is no space.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::outbox::layout::{Layout, Mark};
use crate::outbox::request::{Answer, Batch, Command, GROUP, Options, OutboxError, Shared};
use crate::outbox::salvage::{self, Found};
use crate::outbox::store::{Failure, Store, guarded, stored_bytes};

/// How long a commit waits for more punches: a card writes whole pages.
const GATHER: Duration = Duration::from_millis(5);
/// A larger store is rebuilt when it is empty.
pub(super) const LARGE_BYTES: u64 = 8 << 20;
/// Between two log lines about a full outbox.
const REMIND: Duration = Duration::from_mins(1);

pub(super) struct Writer {
    pub(super) layout: Layout,
    options: Options,
    /// `None` after an error, until it is reopened.
    open: Option<Store>,
    shared: Arc<Shared>,
    /// When a full outbox was last logged.
    reminded: Option<Instant>,
    /// What was found before sled opened the store, until it is open.
    found: Option<Found>,
    /// Held from the first opening on: no other process may exchange stores.
    lock: Option<File>,
}

impl Writer {
    pub(super) fn new(options: Options, shared: Arc<Shared>) -> Self {
        let layout = Layout(options.folder.clone());
        Self { layout, options, open: None, shared, reminded: None, found: None, lock: None }
    }

    /// Loads the alarm of an earlier run that the hub may not have received.
    pub(super) fn load_alarm(&self) {
        let mut alarm = self.shared.alarm.lock();
        if alarm.is_none() {
            *alarm = self.layout.alarm();
        }
    }

    pub(super) fn serve(mut self, commands: &mpsc::Receiver<Command>) {
        let mut next = None;
        while let Some(command) = next.take().or_else(|| commands.recv().ok()) {
            match command {
                Command::Append(punch, answer) => {
                    let mut group = vec![(punch, answer)];
                    next = gather(commands, &mut group);
                    self.commit(group);
                }
                Command::Read { from, count, bytes, answer } => {
                    let read = |store: &mut Store| {
                        let records = store.read(from, count, bytes)?;
                        Ok(Batch { epoch: store.mark.epoch, born: store.born, records })
                    };
                    let _ = answer.send(self.attempt(read));
                }
                Command::Trim { epoch, through, answer } => {
                    let _ = answer.send(self.trim(epoch, through));
                }
                Command::Renew(answer) => {
                    let _ = answer.send(self.attempt(Store::draw_epoch));
                }
            }
        }
    }

    fn commit(&mut self, group: Vec<(Vec<u8>, Answer<u64>)>) {
        let (punches, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let done = match self.append(&punches) {
            Err(OutboxError::Full(path)) => {
                self.report_full();
                Err(OutboxError::Full(path))
            }
            done => {
                self.shared.full.store(false, Ordering::Release);
                done
            }
        };
        for (index, answer) in answers.into_iter().enumerate() {
            let _ = answer.send(match &done {
                Ok(first) => Ok(first + index as u64),
                Err(OutboxError::Full(path)) => Err(OutboxError::Full(path.clone())),
                Err(reason) => Err(self.failed(reason.to_string())),
            });
        }
    }

    /// Appends if there is space: within the limit, and with the reserve allocated.
    fn append(&mut self, punches: &[Vec<u8>]) -> Result<u64, OutboxError> {
        let held = self.ensure_open()?.mark.bytes;
        let full = || OutboxError::Full(self.layout.0.clone());
        if held + stored_bytes(punches) > self.options.limit_bytes {
            return Err(full());
        }
        if let Err(error) = self.layout.hold_reserve() {
            let failure = Failure::from(error);
            return Err(if matches!(failure, Failure::Full) { full() } else { self.outbox_error(failure) });
        }
        self.attempt(|store| store.append(punches))
    }

    fn trim(&mut self, epoch: u64, through: u64) -> Result<(), OutboxError> {
        self.attempt(|store| if store.mark.epoch == epoch { store.trim(through) } else { Ok(()) })?;
        let Some((mark, born)) = self.open.as_ref().map(|store| (store.mark, store.born)) else {
            return Ok(());
        };
        let size = self.layout.size();
        if mark.held == 0 && size > LARGE_BYTES {
            info!(path = %self.layout.0.display(), size, "rebuilding the outbox: it is empty and its file is large");
            self.open = None; // before its folder is deleted
            if let Err(failure) = guarded(|| salvage::rebuild(&self.layout, &mark, born)) {
                warn!(error = %self.outbox_error(failure), "cannot rebuild the outbox; its file stays large");
            }
        }
        Ok(())
    }

    /// Runs `work` on the store, which is reopened first if an error closed it. On a full disk the reserve is freed and
    /// `work` retried once.
    fn attempt<T>(&mut self, work: impl Fn(&mut Store) -> Result<T, Failure>) -> Result<T, OutboxError> {
        match self.try_once(&work) {
            Err(Failure::Full) => {
                self.layout.drop_reserve();
                self.try_once(&work).map_err(|failure| self.outbox_error(failure))
            }
            done => done.map_err(|failure| self.outbox_error(failure)),
        }
    }

    fn try_once<T>(&mut self, work: impl Fn(&mut Store) -> Result<T, Failure>) -> Result<T, Failure> {
        self.open_store()?;
        let Some(store) = &mut self.open else { return Err(Failure::Other("it is closed".into())) };
        let done = guarded(|| work(store));
        match &done {
            Ok(_) => self.publish(),
            Err(failure) => {
                error!(path = %self.layout.0.display(), ?failure, "the outbox failed; reopening it");
                let closed = self.open.take();
                let _ = guarded(|| {
                    drop(closed);
                    Ok(())
                });
            }
        }
        done
    }

    pub(super) fn ensure_open(&mut self) -> Result<&Store, OutboxError> {
        let mut opened = self.open_store();
        if let Err(Failure::Full) = opened {
            self.layout.drop_reserve();
            opened = self.open_store();
        }
        opened.map_err(|failure| self.outbox_error(failure))?;
        self.open.as_ref().ok_or(OutboxError::Stopped)
    }

    /// Opens the store if it is closed, and salvages it if it is damaged or truncated.
    ///
    /// The files are searched before sled opens them: on damage it may open an earlier or empty state and truncate the
    /// rest.
    fn open_store(&mut self) -> Result<(), Failure> {
        if self.open.is_some() {
            return Ok(());
        }
        if self.lock.is_none() {
            self.lock = Some(self.layout.lock()?.ok_or(Failure::InUse)?);
        }
        self.layout.prepare()?;
        let mark = self.layout.marked();
        let found = self.search(mark)?;
        let mut store =
            match Store::open(&self.layout.store()).and_then(|store| complete(store, &found, mark)) {
                Err(Failure::Damaged(reason)) => self.salvage(&reason, &found)?,
                opened => opened?,
            };
        salvage::discard_kept(&self.layout);
        self.found = None;
        store.sync = self.options.sync;
        info!(path = %self.layout.0.display(), epoch = store.mark.epoch, last = store.mark.last,
            held = store.mark.held, "outbox open");
        self.open = Some(store);
        self.publish();
        Ok(())
    }

    /// Searches the files. An earlier attempt may have found more, before sled opened them.
    fn search(&mut self, mark: Option<Mark>) -> Result<Found, Failure> {
        let mut found = salvage::search(&self.layout.store(), mark)?;
        if let Some(before) = self.found.take().filter(|before| before.punches.len() > found.punches.len()) {
            found = before;
        }
        if let Err(error) = salvage::keep(&self.layout, &found) {
            // Probably a full disk. Delivery frees it, so go on without the copy.
            warn!(%error, "cannot back up the waiting punches while the outbox is opened");
        }
        self.found = Some(found.clone());
        Ok(found)
    }

    fn salvage(&mut self, reason: &str, found: &Found) -> Result<Store, Failure> {
        error!(path = %self.layout.0.display(), reason, "ALARM: the outbox is damaged; salvaging it");
        guarded(|| salvage::salvage(&self.layout, found))?;
        let text =
            format!("the outbox was damaged: {} punches saved, {} lost", found.punches.len(), found.lost);
        error!(path = %self.layout.0.display(), saved = found.punches.len(), lost = found.lost,
            "ALARM: the outbox was salvaged and goes on under a new epoch");
        let alarm = self.layout.write_alarm(&text);
        *self.shared.alarm.lock() = Some(alarm);
        Store::open(&self.layout.store())
    }

    /// Publishes the store's counters.
    fn publish(&self) {
        let Some(store) = &self.open else { return };
        self.shared.epoch.store(store.mark.epoch, Ordering::Release);
        if self.shared.held.swap(store.mark.held, Ordering::AcqRel) > store.mark.held {
            self.shared.full.store(false, Ordering::Release);
        }
        self.layout.mark(&store.mark);
    }

    fn report_full(&mut self) {
        self.shared.full.store(true, Ordering::Release);
        if self.reminded.is_none_or(|at| at.elapsed() > REMIND) {
            error!(path = %self.layout.0.display(), limit_bytes = self.options.limit_bytes,
                "ALARM: the outbox or its disk is full; no punch is taken: connect the hub or free space");
            self.reminded = Some(Instant::now());
        }
    }

    fn outbox_error(&self, failure: Failure) -> OutboxError {
        match failure {
            Failure::InUse => OutboxError::InUse(self.layout.0.clone()),
            Failure::Full => OutboxError::Full(self.layout.0.clone()),
            Failure::Damaged(reason) | Failure::Other(reason) => self.failed(reason),
        }
    }

    fn failed(&self, reason: String) -> OutboxError {
        OutboxError::Store { path: self.layout.0.clone(), reason }
    }
}

/// Checks that a store has all that is known to have been in it. Records beyond sled's end of the log are appended again
/// under the same numbers: after a power cut these are punches that were written and not yet acknowledged.
pub(super) fn complete(mut store: Store, found: &Found, mark: Option<Mark>) -> Result<Store, Failure> {
    let tail = found.tail(store.mark.epoch, store.mark.last);
    if !tail.is_empty() {
        info!(punches = tail.len(), "restored the end of the outbox");
        for group in tail.chunks(GROUP) {
            guarded(|| store.append(group))?;
        }
    }
    let beyond = found.punches.iter().map(|held| held.seq).max().unwrap_or(0);
    let marked = mark.filter(|mark| mark.epoch == store.mark.epoch).map_or(0, |mark| mark.last);
    let known = beyond.max(marked);
    if store.mark.last < known {
        return Err(Failure::Damaged(format!("it ends with punch {}, but had {known}", store.mark.last)));
    }
    match mark {
        Some(mark) if store.mark.last == 0 && mark.held > 0 => {
            Err(Failure::Damaged(format!("it is empty, but held {} punches", mark.held)))
        }
        _ => Ok(store),
    }
}

/// Collects appends for a moment; returns a command of another kind that ended it.
fn gather(commands: &mpsc::Receiver<Command>, group: &mut Vec<(Vec<u8>, Answer<u64>)>) -> Option<Command> {
    let until = Instant::now() + GATHER;
    while group.len() < GROUP {
        let command = match commands.try_recv() {
            Err(TryRecvError::Empty) => {
                match commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
                }
            }
            Ok(command) => command,
            Err(TryRecvError::Disconnected) => return None,
        };
        match command {
            Command::Append(punch, answer) => group.push((punch, answer)),
            other => return Some(other),
        }
    }
    None
}
