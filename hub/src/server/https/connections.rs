//! How many HTTPS connections there may be, in all and from one address.
//!
//! A connection is silent until the head of its first request has come. Where there are too many, the oldest
//! silent one of the address that has most of them makes room, or the newcomer goes, before its handshake
//! costs anything, if its own address has as many: a flood costs nobody else their connection.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use crate::limits::network;

/// How long a client may take no byte of an answer.
const STALLED: Duration = Duration::from_mins(1);

/// A limit on connections. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Mutex<Table>>);

struct Table {
    most: usize,
    most_of_address: usize,
    last: u64,
    count: usize,
    addresses: HashMap<IpAddr, Address>,
}

/// The connections of one address.
#[derive(Default)]
struct Address {
    count: usize,
    /// The silent ones by age.
    silent: BTreeMap<u64, CancellationToken>,
}

/// A connection's slot, until it is dropped.
struct Slot {
    connections: Connections,
    id: u64,
    address: IpAddr,
    end: CancellationToken,
}

impl Connections {
    /// At most so many in all, and so many from one address.
    pub fn new(most: usize, most_of_address: usize) -> Self {
        let addresses = HashMap::new();
        Self(Arc::new(Mutex::new(Table { most, most_of_address, last: 0, count: 0, addresses })))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }

    /// `None`: there are too many, and none of them has to make room.
    fn admit(&self, address: IpAddr) -> Option<Slot> {
        let address = network(address);
        let mut table = self.table();
        if table.addresses.get(&address).is_some_and(|known| known.count >= table.most_of_address) {
            table.make_room(address)?;
        } else if table.count >= table.most {
            let (silent, fullest) = table.fullest()?;
            let own = table.addresses.get(&address).map_or(0, |known| known.silent.len());
            if own > 0 && own + 1 >= silent {
                return None;
            }
            table.make_room(fullest)?;
        }
        table.last += 1;
        table.count += 1;
        let (id, end) = (table.last, CancellationToken::new());
        let known = table.addresses.entry(address).or_default();
        known.count += 1;
        known.silent.insert(id, end.clone());
        Some(Slot { connections: self.clone(), id, address, end })
    }
}

impl Table {
    /// The address with the most silent connections, and how many.
    fn fullest(&self) -> Option<(usize, IpAddr)> {
        self.addresses.iter().map(|(address, known)| (known.silent.len(), *address)).max()
    }

    /// Ends the oldest silent connection of an address.
    fn make_room(&mut self, address: IpAddr) -> Option<()> {
        let (_, end) = self.addresses.get_mut(&address)?.silent.pop_first()?;
        end.cancel();
        self.forget(address);
        Some(())
    }

    /// The connection is silent no more.
    fn speak(&mut self, address: IpAddr, id: u64) {
        if let Some(known) = self.addresses.get_mut(&address) {
            known.silent.remove(&id);
        }
    }

    /// One connection less.
    fn forget(&mut self, address: IpAddr) {
        self.count -= 1;
        if let Some(known) = self.addresses.get_mut(&address) {
            known.count -= 1;
            if known.count == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}

impl Slot {
    /// A request has come.
    fn speak(&self) {
        self.connections.table().speak(self.address, self.id);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        // One that made room is gone from the table already.
        if !self.end.is_cancelled() {
            table.speak(self.address, self.id);
            table.forget(self.address);
        }
    }
}

impl<S> Accept<TcpStream, S> for Connections {
    type Stream = TimedStream;
    type Service = TimedService<S>;
    type Future = std::future::Ready<io::Result<(TimedStream, TimedService<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accept = || {
            stream.set_nodelay(true)?;
            let slot = self.admit(stream.peer_addr()?.ip());
            let slot = Arc::new(slot.ok_or_else(|| io::Error::other("too many connections"))?);
            let end = Box::pin(slot.end.clone().cancelled_owned());
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(STALLED));
            Ok((
                TimedStream { stream: Box::pin(stream), end, _place: slot.clone() },
                TimedService { service, slot },
            ))
        };
        std::future::ready(accept())
    }
}

/// A connection that has a slot, and ends where it loses it.
pub struct TimedStream {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Arc<Slot>,
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            Poll::Pending => self.stream.as_mut().poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A connection's requests: the first one ends its silence.
#[derive(Clone)]
pub struct TimedService<S> {
    service: S,
    slot: Arc<Slot>,
}

impl<S: Service<R>, R> Service<R> for TimedService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(ready!(self.service.poll_ready(context)))
    }

    fn call(&mut self, request: R) -> S::Future {
        self.slot.speak();
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn other(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_oldest_silent_connection_makes_room() {
        let connections = Connections::new(3, 2);
        let first = connections.admit(ONE).expect("room");
        let second = connections.admit(ONE).expect("room");
        first.speak();
        let third = connections.admit(ONE).expect("the second says nothing");
        assert!(!first.end.is_cancelled() && second.end.is_cancelled());
        third.speak();
        assert!(connections.admit(ONE).is_none(), "both of this address speak");
        let fourth = connections.admit(other(2)).expect("another address");
        assert!(connections.admit(other(3)).is_some() && fourth.end.is_cancelled());
    }

    #[test]
    fn a_flood_ends_its_own_connections() {
        let connections = Connections::new(6, 6);
        let honest = [0; 3].map(|_| connections.admit(other(2)).expect("room"));
        honest[1..].iter().for_each(Slot::speak);
        let flood: Vec<Slot> = (0..3).filter_map(|_| connections.admit(ONE)).collect();
        let newcomer = connections.admit(other(3)).expect("room is made");
        assert!(!honest[0].end.is_cancelled() && flood[0].end.is_cancelled() && !flood[1].end.is_cancelled());
        assert!(connections.admit(ONE).is_none(), "it would have as many as before");
        assert!(
            !flood[1].end.is_cancelled() && !honest[0].end.is_cancelled() && !newcomer.end.is_cancelled()
        );
    }

    #[tokio::test]
    async fn a_connection_that_makes_room_is_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (connections, address) = (Connections::new(1, 1), listener.local_addr().expect("an address"));
        let come = async || {
            let client = TcpStream::connect(address).await.expect("connects");
            let (stream, _) = listener.accept().await.expect("accepts");
            let (stream, _service) = connections.accept(stream, ()).await.expect("room is made");
            (client, stream)
        };
        let (_first, mut stream) = come().await;
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_u8());
        let (ended, (mut second, mut stands)) = tokio::join!(read, come());
        assert!(ended.expect("it is told").is_err());
        second.write_u8(7).await.expect("the newcomer stands");
        assert_eq!(stands.read_u8().await.expect("the newcomer stands"), 7);
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let connections = Connections::new(2, 2);
        let held = [ONE, other(2)].map(|address| connections.admit(address).expect("room"));
        held.iter().for_each(Slot::speak);
        assert!(connections.admit(other(3)).is_none());
        drop(held);
        let table = connections.0.lock();
        assert!(table.count == 0 && table.addresses.is_empty());
    }
}
