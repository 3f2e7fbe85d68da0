//! Whoever keeps the store, on a thread of its own: groups appends, opens the store anew after errors,
//! salvages a damaged one, and refuses when there is no room.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::outbox::layout::{Layout, Mark};
use crate::outbox::request::{Answer, Batch, Command, GROUP, Options, OutboxError, Shared};
use crate::outbox::salvage::{self, Found, search};
use crate::outbox::store::{Failure, Store, guarded, stored_bytes};

/// How long a commit waits for more punches: a card writes a page for one as for many.
const GATHER: Duration = Duration::from_millis(5);
/// A store larger than this is made anew when it is empty.
pub(super) const LARGE_BYTES: u64 = 8 << 20;
/// How often the full outbox says so in the log.
const REMIND: Duration = Duration::from_mins(1);

/// Whoever keeps the store, on its thread.
pub(super) struct Writer {
    pub(super) layout: Layout,
    options: Options,
    /// `None` after an error, until it is opened anew.
    open: Option<Store>,
    shared: Arc<Shared>,
    /// When the log last said that the outbox is full.
    reminded: Option<Instant>,
    /// What was found before sled saw the store, until it is open.
    found: Option<Found>,
    /// Held from the first opening on: nobody else may put one store in the place of another.
    lock: Option<File>,
}

impl Writer {
    pub(super) fn new(options: Options, shared: Arc<Shared>) -> Self {
        let layout = Layout(options.folder.clone());
        Self { layout, options, open: None, shared, reminded: None, found: None, lock: None }
    }

    /// What an earlier run found, and the hub may not have heard of.
    pub(super) fn remember(&self) {
        let mut alarm = self.shared.alarm.lock().unwrap_or_else(PoisonError::into_inner);
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
        let done = match self.take(&punches) {
            Err(OutboxError::Full(path)) => {
                self.complain();
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

    /// Appends, if there is room: within the limit, and with the ballast on board.
    fn take(&mut self, punches: &[Vec<u8>]) -> Result<u64, OutboxError> {
        let held = self.ensure_open()?.mark.bytes;
        let full = || OutboxError::Full(self.layout.0.clone());
        if held + stored_bytes(punches) > self.options.limit_bytes {
            return Err(full());
        }
        if let Err(error) = self.layout.hold_ballast() {
            let failure = Failure::from(error);
            return Err(if matches!(failure, Failure::Full) { full() } else { self.told(failure) });
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
            info!(path = %self.layout.0.display(), size, "the outbox is empty and large: it is made anew");
            self.open = None; // before its folder goes
            if let Err(failure) = guarded(|| salvage::rebuild(&self.layout, &mark, born)) {
                warn!(error = %self.told(failure), "the outbox stays large");
            }
        }
        Ok(())
    }

    /// Does something with the open store; opens it first if an error closed it, and closes it on
    /// an error or a panic of sled. On a full disk the ballast goes, and it is tried once more.
    fn attempt<T>(&mut self, work: impl Fn(&mut Store) -> Result<T, Failure>) -> Result<T, OutboxError> {
        match self.try_once(&work) {
            Err(Failure::Full) => {
                self.layout.drop_ballast();
                self.try_once(&work).map_err(|failure| self.told(failure))
            }
            done => done.map_err(|failure| self.told(failure)),
        }
    }

    fn try_once<T>(&mut self, work: impl Fn(&mut Store) -> Result<T, Failure>) -> Result<T, Failure> {
        self.open_store()?;
        let Some(store) = &mut self.open else { return Err(Failure::Other("it is closed".into())) };
        let done = guarded(|| work(store));
        match &done {
            Ok(_) => self.publish(),
            Err(failure) => {
                error!(path = %self.layout.0.display(), ?failure, "the outbox failed; it will be opened anew");
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
            self.layout.drop_ballast();
            opened = self.open_store();
        }
        opened.map_err(|failure| self.told(failure))?;
        self.open.as_ref().ok_or(OutboxError::Stopped)
    }

    /// Opens the store if it is not open. One that is damaged, or has lost its end, is salvaged.
    ///
    /// The files are searched before sled sees them: where it finds damage it may open an earlier
    /// state, or an empty one, and cut off the rest.
    fn open_store(&mut self) -> Result<(), Failure> {
        if self.open.is_some() {
            return Ok(());
        }
        if self.lock.is_none() {
            self.lock = Some(self.layout.lock()?.ok_or(Failure::InUse)?);
        }
        self.layout.prepare()?;
        let mark = self.layout.marked();
        let found = self.look(mark)?;
        let mut store = match Store::open(&self.layout.store()).and_then(|store| whole(store, &found, mark)) {
            Err(Failure::Damaged(reason)) => self.salvage(&reason, &found)?,
            opened => opened?,
        };
        salvage::forget(&self.layout);
        self.found = None;
        store.sync = self.options.sync;
        info!(path = %self.layout.0.display(), epoch = store.mark.epoch, last = store.mark.last,
            held = store.mark.held, "outbox open");
        self.open = Some(store);
        self.publish();
        Ok(())
    }

    /// What lies in the files. An attempt before this one may have seen more, before sled did.
    fn look(&mut self, mark: Option<Mark>) -> Result<Found, Failure> {
        let mut found = search(&self.layout.store(), mark)?;
        if let Some(before) = self.found.take().filter(|before| before.punches.len() > found.punches.len()) {
            found = before;
        }
        if let Err(error) = salvage::keep(&self.layout, &found) {
            // A full disk, mostly. To deliver is the way out of that, so it goes on with the memory alone.
            warn!(%error, "what waits in the outbox is not kept twice while it is opened");
        }
        self.found = Some(found.clone());
        Ok(found)
    }

    fn salvage(&mut self, reason: &str, found: &Found) -> Result<Store, Failure> {
        error!(path = %self.layout.0.display(), reason, "ALARM: the outbox is damaged");
        guarded(|| salvage::salvage(&self.layout, found))?;
        let text =
            format!("the outbox was damaged: {} punches saved, {} lost", found.punches.len(), found.lost);
        error!(path = %self.layout.0.display(), saved = found.punches.len(), lost = found.lost,
            "ALARM: the outbox goes on under a new epoch with what was saved");
        let alarm = self.layout.write_alarm(&text);
        *self.shared.alarm.lock().unwrap_or_else(PoisonError::into_inner) = Some(alarm);
        Store::open(&self.layout.store())
    }

    /// Tells everybody how far the store has got.
    fn publish(&self) {
        let Some(store) = &self.open else { return };
        self.shared.epoch.store(store.mark.epoch, Ordering::Release);
        if self.shared.held.swap(store.mark.held, Ordering::AcqRel) > store.mark.held {
            self.shared.full.store(false, Ordering::Release);
        }
        self.layout.mark(&store.mark);
    }

    fn complain(&mut self) {
        self.shared.full.store(true, Ordering::Release);
        if self.reminded.is_none_or(|at| at.elapsed() > REMIND) {
            error!(path = %self.layout.0.display(), limit_bytes = self.options.limit_bytes,
                "ALARM: the outbox is full, or its disk: no punch is taken until the hub has taken some");
            self.reminded = Some(Instant::now());
        }
    }

    fn told(&self, failure: Failure) -> OutboxError {
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

/// A store that has all that is known to have been in it. What stood in the file beyond sled's idea
/// of its end is put back under the same numbers: after a power cut these are punches that were
/// written and not yet acknowledged.
pub(super) fn whole(mut store: Store, found: &Found, mark: Option<Mark>) -> Result<Store, Failure> {
    let tail = found.tail(store.mark.epoch, store.mark.last);
    if !tail.is_empty() {
        info!(punches = tail.len(), "the end of the outbox is put back");
        for group in tail.chunks(GROUP) {
            guarded(|| store.append(group))?;
        }
    }
    let beyond = found.punches.iter().map(|held| held.seq).max().unwrap_or(0);
    let marked = mark.filter(|mark| mark.epoch == store.mark.epoch).map_or(0, |mark| mark.last);
    let known = beyond.max(marked);
    if store.mark.last < known {
        return Err(Failure::Damaged(format!("it ends with punch {}, and had {known}", store.mark.last)));
    }
    match mark {
        Some(mark) if store.mark.last == 0 && mark.held > 0 => {
            Err(Failure::Damaged(format!("it is empty, and {} punches waited in it", mark.held)))
        }
        _ => Ok(store),
    }
}

/// Takes the punches that come within a moment; returns a command of another kind that ended it.
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
