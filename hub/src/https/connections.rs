//! How many HTTPS connections there may be, in all and from one address.
//!
//! A connection is silent until its first request has come whole. Where there are too many, the oldest
//! silent one makes room: a browser speaks within milliseconds, so that a flood of connections that
//! say nothing ends its own.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

/// How long a client may take no byte of an answer.
const STALLED: Duration = Duration::from_mins(1);

/// A limit on connections. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Mutex<Table>>);

struct Table {
    most: usize,
    most_of_address: usize,
    last: u64,
    open: HashMap<u64, Open>,
    of_address: HashMap<IpAddr, usize>,
    /// The silent ones by age.
    silent: BTreeSet<u64>,
}

struct Open {
    address: IpAddr,
    end: CancellationToken,
}

/// A connection's place, until it is dropped.
struct Place {
    connections: Connections,
    id: u64,
    end: CancellationToken,
}

impl Connections {
    /// At most so many in all, and so many from one address.
    pub fn new(most: usize, most_of_address: usize) -> Self {
        let (open, of_address, silent) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(Table { most, most_of_address, last: 0, open, of_address, silent })))
    }

    /// `None`: there are too many, and none of them is silent.
    fn admit(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.of_address.get(&address).is_some_and(|count| *count >= table.most_of_address) {
            table.make_room(|open| open.address == address)?;
        } else if table.open.len() >= table.most {
            table.make_room(|_| true)?;
        }
        table.last += 1;
        let (id, end) = (table.last, CancellationToken::new());
        table.open.insert(id, Open { address, end: end.clone() });
        *table.of_address.entry(address).or_default() += 1;
        table.silent.insert(id);
        Some(Place { connections: self.clone(), id, end })
    }
}

impl Table {
    /// Ends the oldest silent connection that fits.
    fn make_room(&mut self, fits: impl Fn(&Open) -> bool) -> Option<()> {
        let oldest = self.silent.iter().copied().find(|id| self.open.get(id).is_some_and(&fits))?;
        self.open.get(&oldest)?.end.cancel();
        self.remove(oldest);
        Some(())
    }

    fn remove(&mut self, id: u64) {
        self.silent.remove(&id);
        let Some(Open { address, .. }) = self.open.remove(&id) else { return };
        if let Some(count) = self.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
    }
}

impl Place {
    /// A request has come.
    fn speak(&self) {
        self.connections.0.lock().unwrap_or_else(PoisonError::into_inner).silent.remove(&self.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
    }
}

/// What counts as one address: of IPv6 the first 64 bits, for one host has all that begin with them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(bits).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl<S> Accept<TcpStream, S> for Connections {
    type Stream = Placed;
    type Service = Speaking<S>;
    type Future = std::future::Ready<io::Result<(Placed, Speaking<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accept = || {
            stream.set_nodelay(true)?;
            let place = self.admit(stream.peer_addr()?.ip());
            let place = Arc::new(place.ok_or_else(|| io::Error::other("too many connections"))?);
            let end = Box::pin(place.end.clone().cancelled_owned());
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(STALLED));
            Ok((Placed { stream: Box::pin(stream), end, _place: place.clone() }, Speaking { service, place }))
        };
        std::future::ready(accept())
    }
}

/// A connection that has a place, and ends where it loses it.
pub struct Placed {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Arc<Place>,
}

impl AsyncRead for Placed {
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

impl AsyncWrite for Placed {
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
pub struct Speaking<S> {
    service: S,
    place: Arc<Place>,
}

impl<S: Service<R>, R> Service<R> for Speaking<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(ready!(self.service.poll_ready(context)))
    }

    fn call(&mut self, request: R) -> S::Future {
        self.place.speak();
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
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
    fn a_place_is_free_again_when_its_connection_ends() {
        let connections = Connections::new(2, 2);
        let held = [ONE, other(2)].map(|address| connections.admit(address).expect("room"));
        held.iter().for_each(Place::speak);
        assert!(connections.admit(other(3)).is_none());
        drop(held);
        let table = connections.0.lock().expect("no panic");
        assert!(table.open.is_empty() && table.of_address.is_empty() && table.silent.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let read = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(read("2001:db8:1:2:3::4"), read("2001:db8:1:2::5"));
        assert_ne!(read("2001:db8:1:2::1"), read("2001:db8:1:3::1"));
        assert_eq!(read("::ffff:192.0.2.1"), ONE);
        assert_ne!(read("192.0.2.2"), ONE);
    }
}
