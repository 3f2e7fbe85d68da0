//! A TCP proxy between two programs, with faults on demand.
//!
//! It runs on its own thread, so that a blocking test does not stall it, and ends when it is dropped. A fault
//! applies to existing and to new connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// The longest delay of [`Fault::Reorder`].
const LONGEST_WAIT_MS: u64 = 500;

#[derive(Clone, Debug)]
pub enum Upstream {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Closes all connections, and new ones as soon as they are accepted.
    Cut,
    /// Keeps connections open, accepts new ones, and forwards nothing.
    Stall,
    /// Limits the rate of each direction.
    Slow {
        /// 0 counts as 1.
        bytes_a_second: u32,
    },
    /// Shuts existing connections down towards one side for good: what the other side sends is discarded. The other
    /// direction and new connections are not affected.
    HalfClose { towards: Side },
    /// Delays each new connection by up to half a second before it is forwarded, so that a later one may overtake an earlier one.
    Reorder,
}

pub struct Proxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts it without a fault on a free port; the seed is that of random delays.
    pub fn start(upstream: Upstream, seed: u64) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (orders, told) = watch::channel(Orders::default());
        let random = StdRng::seed_from_u64(seed);
        let thread = std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || runtime.block_on(accept(listener, upstream, told, random)))?;
        Ok(Self { address, orders, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault for everything that is sent from now on.
    pub fn set(&self, fault: Fault) {
        self.orders.send_modify(|orders| {
            orders.fault = fault;
            match fault {
                Fault::Cut => orders.cuts += 1,
                Fault::HalfClose { towards } => orders.halves[towards as usize] += 1,
                _ => {}
            }
        });
    }

    /// Closes all existing connections; new ones are not affected.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One-time events are counted, so that a connection notices them even if the fault has changed since.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    fault: Fault,
    /// How many times all connections were closed.
    cuts: u64,
    /// How many times they were shut down, by side.
    halves: [u64; 2],
    stop: bool,
}

/// Accepts connections until stopped, then closes those that exist.
async fn accept(
    listener: TcpListener,
    upstream: Upstream,
    mut told: watch::Receiver<Orders>,
    mut random: StdRng,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = told.wait_for(|now| now.stop) => return,
        };
        let Ok((client, _)) = accepted else {
            sleep(Duration::from_millis(10)).await; // out of descriptors, mostly
            continue;
        };
        let born = *told.borrow();
        let wait = match born.fault {
            Fault::Cut => continue,
            Fault::Reorder => random.random_range(0..LONGEST_WAIT_MS),
            _ => 0,
        };
        let connection = Connection { client, upstream: upstream.clone(), told: told.clone(), born };
        connections.spawn(connection.serve(Duration::from_millis(wait)));
    }
}

/// A client that was accepted.
struct Connection {
    client: TcpStream,
    upstream: Upstream,
    told: watch::Receiver<Orders>,
    /// The orders when it was accepted.
    born: Orders,
}

impl Connection {
    /// Forwards until it ends or is cut.
    async fn serve(self, wait: Duration) {
        let (mut told, cuts) = (self.told.clone(), self.born.cuts);
        tokio::select! {
            _ = self.pass(wait) => {}
            _ = told.wait_for(|now| now.cuts != cuts) => {}
        }
    }

    /// Connects to the server after its delay and forwards both directions.
    async fn pass(mut self, wait: Duration) -> Result<()> {
        sleep(wait).await;
        self.told.wait_for(|now| now.fault != Fault::Stall).await?;
        let (from_server, to_server) = self.upstream.connect().await?;
        self.client.set_nodelay(true)?;
        let (from_client, to_client) = self.client.into_split();
        let up = Pump::new(Box::new(from_client), to_server, Side::Server);
        let down = Pump::new(from_server, Box::new(to_client), Side::Client);
        tokio::try_join!(up.run(self.told.clone(), self.born), down.run(self.told.clone(), self.born))?;
        Ok(())
    }
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl Upstream {
    async fn connect(&self) -> Result<(Reader, Writer)> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await.with_context(|| format!("{self:?}"))?;
                stream.set_nodelay(true)?;
                let (from, to) = stream.into_split();
                (Box::new(from), Box::new(to))
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.with_context(|| format!("{self:?}"))?;
                let (from, to) = stream.into_split();
                (Box::new(from), Box::new(to))
            }
        })
    }
}

/// One direction of a connection.
struct Pump {
    from: Reader,
    to: Writer,
    towards: Side,
    buffer: Vec<u8>,
    /// The part of the buffer that was not forwarded yet.
    held: Range<usize>,
    /// When a slow connection may forward more.
    ready: Instant,
    /// Whether everything is discarded.
    shut: bool,
}

impl Pump {
    fn new(from: Reader, to: Writer, towards: Side) -> Self {
        Self { from, to, towards, buffer: vec![0; 16 << 10], held: 0..0, ready: Instant::now(), shut: false }
    }

    /// Forwards until the sender has ended. Each step follows the newest orders; data that was read before an
    /// interrupted step is kept.
    async fn run(mut self, mut told: watch::Receiver<Orders>, born: Orders) -> Result<()> {
        loop {
            let now = *told.borrow_and_update();
            if !self.shut && now.halves[self.towards as usize] != born.halves[self.towards as usize] {
                self.shut().await;
            }
            let stalled = now.fault == Fault::Stall;
            tokio::select! {
                changed = told.changed() => changed?,
                more = self.step(now.fault), if !stalled => if !more? {
                    return Ok(());
                },
            }
        }
    }

    /// Reads, or forwards what was read. False once the sender has ended and the receiver knows it.
    async fn step(&mut self, fault: Fault) -> Result<bool> {
        if self.held.is_empty() {
            let read = self.from.read(&mut self.buffer).await?;
            if read == 0 {
                self.shut().await;
                return Ok(false);
            }
            if !self.shut {
                self.held = 0..read;
            }
            return Ok(true);
        }
        let Fault::Slow { bytes_a_second } = fault else {
            self.held.start += self.to.write(&self.buffer[self.held.clone()]).await?;
            return Ok(true);
        };
        let rate = bytes_a_second.max(1);
        sleep_until(self.ready).await;
        let most = self.held.len().min((rate / 20).max(1) as usize);
        let written = self.to.write(&self.buffer[self.held.start..][..most]).await?;
        self.held.start += written;
        self.ready = Instant::now() + Duration::from_secs_f64(written as f64 / f64::from(rate));
        Ok(true)
    }

    /// Shuts the receiver down for writing; it may be gone already.
    async fn shut(&mut self) {
        (self.shut, self.held) = (true, 0..0);
        let _ = self.to.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use anyhow::ensure;

    use super::*;

    /// Timeout for what should arrive.
    const TIMEOUT: Duration = Duration::from_secs(10);
    /// How long to wait for what should not arrive.
    const MOMENT: Duration = Duration::from_millis(100);

    struct Scene {
        server: TcpListener,
        proxy: Proxy,
    }

    impl Scene {
        fn new() -> Result<Self> {
            let server = TcpListener::bind("127.0.0.1:0")?;
            let proxy = Proxy::start(Upstream::Tcp(server.local_addr()?), 1)?;
            Ok(Self { server, proxy })
        }

        fn client(&self) -> Result<TcpStream> {
            let client = TcpStream::connect(self.proxy.address())?;
            client.set_read_timeout(Some(TIMEOUT))?;
            Ok(client)
        }

        fn accept(&self) -> Result<TcpStream> {
            let (server, _) = self.server.accept()?;
            server.set_read_timeout(Some(TIMEOUT))?;
            Ok(server)
        }

        /// Both ends of a connection through the proxy.
        fn pair(&self) -> Result<(TcpStream, TcpStream)> {
            Ok((self.client()?, self.accept()?))
        }
    }

    fn passes(mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
        from.write_all(b"hello")?;
        let mut received = [0; 5];
        to.read_exact(&mut received)?;
        ensure!(&received == b"hello");
        Ok(())
    }

    /// Whether a connection has ended, cleanly or not.
    fn ended(mut stream: &TcpStream) -> bool {
        match stream.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    fn silent(mut stream: &TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(MOMENT))?;
        let read = stream.read(&mut [0]);
        stream.set_read_timeout(Some(TIMEOUT))?;
        let quiet = matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        ensure!(quiet, "it read {read:?}");
        Ok(())
    }

    #[test]
    fn data_and_its_end_are_forwarded_both_ways() -> Result<()> {
        let scene = Scene::new()?;
        let (client, mut server) = scene.pair()?;
        passes(&client, &server)?;
        passes(&server, &client)?;
        // More than all buffers on the way hold.
        let much = vec![7; 20 << 20];
        let sender = std::thread::spawn(move || -> Result<TcpStream> {
            (&client).write_all(&much)?;
            client.shutdown(Shutdown::Write)?;
            Ok(client)
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received)?;
        ensure!(received.len() == 20 << 20 && received.iter().all(|byte| *byte == 7));
        let client = sender.join().expect("sends")?;
        passes(&server, &client)?;
        drop(server);
        ensure!(ended(&client));
        Ok(())
    }

    #[test]
    fn a_server_may_listen_on_a_unix_socket() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        let proxy = Proxy::start(Upstream::Unix(path), 1)?;
        let mut client = TcpStream::connect(proxy.address())?;
        client.set_read_timeout(Some(TIMEOUT))?;
        let (mut server, _) = listener.accept()?;
        client.write_all(b"up")?;
        let mut received = [0; 2];
        server.read_exact(&mut received)?;
        server.write_all(b"down")?;
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        ensure!((&received, answer.as_str()) == (b"up", "down"));
        Ok(())
    }

    #[test]
    fn without_a_server_a_connection_is_closed() -> Result<()> {
        let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let proxy = Proxy::start(Upstream::Tcp(nobody), 1)?;
        ensure!(ended(&TcpStream::connect(proxy.address())?));
        Ok(())
    }

    #[test]
    fn a_cut_closes_connections_until_it_ends() -> Result<()> {
        let scene = Scene::new()?;
        let (client, server) = scene.pair()?;
        scene.proxy.set(Fault::Cut);
        ensure!(ended(&client) && ended(&server));
        ensure!(ended(&scene.client()?));
        scene.proxy.set(Fault::None);
        let (client, server) = scene.pair()?;
        passes(&client, &server)?;
        // Cut and mended before the proxy can have looked.
        scene.proxy.set(Fault::Cut);
        scene.proxy.set(Fault::None);
        ensure!(ended(&client) && ended(&server));
        Ok(())
    }

    #[test]
    fn a_single_cut_closes_only_existing_connections() -> Result<()> {
        let scene = Scene::new()?;
        let (client, server) = scene.pair()?;
        scene.proxy.set(Fault::Stall);
        scene.proxy.cut();
        ensure!(ended(&client) && ended(&server));
        scene.proxy.set(Fault::None);
        let (client, server) = scene.pair()?;
        passes(&client, &server)
    }

    #[test]
    fn a_stall_forwards_nothing_and_loses_nothing() -> Result<()> {
        let scene = Scene::new()?;
        let (mut client, mut server) = scene.pair()?;
        for _ in 0..3 {
            passes(&client, &server)?;
            scene.proxy.set(Fault::Stall);
            client.write_all(b"up")?;
            server.write_all(b"down")?;
            let waiting = scene.client()?;
            silent(&server)?;
            silent(&client)?;
            silent(&waiting)?;
            scene.proxy.set(Fault::None);
            let (mut up, mut down) = ([0; 2], [0; 4]);
            server.read_exact(&mut up)?;
            client.read_exact(&mut down)?;
            ensure!((&up, &down) == (b"up", b"down"));
            passes(&waiting, &scene.accept()?)?;
        }
        Ok(())
    }

    #[test]
    fn slow_limits_the_rate() -> Result<()> {
        let scene = Scene::new()?;
        let (client, mut server) = scene.pair()?;
        scene.proxy.set(Fault::Slow { bytes_a_second: 10_000 });
        let begun = Instant::now();
        let mut sender = client.try_clone()?;
        sender.write_all(&[1; 10_000])?;
        let mut received = vec![0; 10_000];
        server.read_exact(&mut received)?;
        ensure!(begun.elapsed() > Duration::from_millis(900), "it took {:?}", begun.elapsed());
        // What is on its way hurries up as soon as it may.
        scene.proxy.set(Fault::Slow { bytes_a_second: 0 });
        sender.write_all(&[2; 10_000])?;
        scene.proxy.set(Fault::None);
        server.read_exact(&mut received)?;
        passes(&server, &client)
    }

    #[test]
    fn a_half_closed_connection_still_forwards_the_other_direction() -> Result<()> {
        for towards in [Side::Client, Side::Server] {
            let scene = Scene::new()?;
            let (client, server) = scene.pair()?;
            scene.proxy.set(Fault::HalfClose { towards });
            let (mut deaf, mut heard) = match towards {
                Side::Client => (&client, &server),
                Side::Server => (&server, &client),
            };
            ensure!(ended(deaf), "{towards:?}");
            // Thrown away, more than buffers hold: it neither arrives nor stops its sender.
            heard.write_all(&vec![9; 20 << 20])?;
            passes(deaf, heard)?;
            let (other, its_server) = scene.pair()?;
            passes(&other, &its_server)?;
            passes(&its_server, &other)?;
            scene.proxy.set(Fault::None);
            deaf.write_all(b"x")?;
            heard.read_exact(&mut [0])?;
            ensure!(deaf.read(&mut [0])? == 0, "{towards:?}");
        }
        Ok(())
    }

    #[test]
    fn a_later_connection_may_overtake() -> Result<()> {
        let scene = Scene::new()?;
        scene.proxy.set(Fault::Reorder);
        let mut clients = Vec::new();
        for number in 0..8 {
            let mut client = scene.client()?;
            client.write_all(&[number])?;
            clients.push(client);
        }
        let mut order = Vec::new();
        for _ in 0..8 {
            let mut number = [0];
            scene.accept()?.read_exact(&mut number)?;
            order.extend(number);
        }
        let mut sorted = order.clone();
        sorted.sort_unstable();
        ensure!(sorted == [0, 1, 2, 3, 4, 5, 6, 7], "{order:?}");
        ensure!(order != sorted, "nobody overtook");
        Ok(())
    }

    #[test]
    fn dropping_the_proxy_closes_connections() -> Result<()> {
        let Scene { server, proxy } = Scene::new()?;
        let address = proxy.address();
        let client = TcpStream::connect(address)?;
        let (served, _) = server.accept()?;
        drop(proxy);
        ensure!(ended(&client) && ended(&served));
        ensure!(TcpStream::connect(address).is_err());
        Ok(())
    }
}
