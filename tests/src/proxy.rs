//! A TCP proxy between two programs of a test, which misbehaves as it is told.
//!
//! It has a thread of its own, so that a test that blocks does not stall it, and ends when it is
//! dropped. What it is told holds for connections that stand already and for new ones.

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

/// The longest that a new connection is held back by [`Mischief::Reorder`].
const LONGEST_WAIT_MS: u64 = 500;

/// Where connections are passed on to.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// An address.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who connected to the proxy.
    Client,
    /// Whom the proxy connected to.
    Server,
}

/// How the proxy behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mischief {
    /// Well.
    #[default]
    None,
    /// All connections are closed, and new ones as soon as they are accepted.
    Cut,
    /// Connections stay open, new ones are accepted, and nothing passes either way.
    Stall,
    /// Each direction of a connection carries so much and no more.
    Slow {
        /// The rate; 0 counts as 1.
        bytes_a_second: u32,
    },
    /// Present connections are shut down towards one side, for good: what the other side sends is
    /// thrown away from now on. The other direction goes on, and new connections are whole.
    HalfClose {
        /// Who hears nothing any more.
        towards: Side,
    },
    /// A new connection waits for up to half a second, each for its own time, before it is passed
    /// on: a later one may overtake an earlier one.
    Reorder,
}

/// The proxy.
pub struct Proxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a well-behaved one on a free port; chance is drawn from the seed.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it behave otherwise from now on. What is sent after this is treated so.
    pub fn set(&self, mischief: Mischief) {
        self.orders.send_modify(|orders| {
            orders.mischief = mischief;
            match mischief {
                Mischief::Cut => orders.cuts += 1,
                Mischief::HalfClose { towards } => orders.halves[towards as usize] += 1,
                _ => {}
            }
        });
    }

    /// Closes all present connections. New ones are served as before.
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

/// What the proxy was told. What happens once to present connections is counted, so that they
/// learn of it even if they have been told something else since.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    mischief: Mischief,
    /// How often all connections were to be closed.
    cuts: u64,
    /// How often they were to be shut down, by side.
    halves: [u64; 2],
    stop: bool,
}

/// Accepts connections until told to stop; those that stand then are closed.
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
        let wait = match born.mischief {
            Mischief::Cut => continue,
            Mischief::Reorder => random.random_range(0..LONGEST_WAIT_MS),
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
    /// Sees it to its end, or until it is cut.
    async fn serve(self, wait: Duration) {
        let (mut told, cuts) = (self.told.clone(), self.born.cuts);
        tokio::select! {
            _ = self.pass(wait) => {}
            _ = told.wait_for(|now| now.cuts != cuts) => {}
        }
    }

    /// Connects to the server once it may, and passes on what either side sends.
    async fn pass(mut self, wait: Duration) -> Result<()> {
        sleep(wait).await;
        self.told.wait_for(|now| now.mischief != Mischief::Stall).await?;
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
    /// What of the buffer was not passed on yet.
    held: Range<usize>,
    /// When a slow connection may pass on more.
    ready: Instant,
    /// Whether nothing is passed on any more.
    shut: bool,
}

impl Pump {
    fn new(from: Reader, to: Writer, towards: Side) -> Self {
        Self { from, to, towards, buffer: vec![0; 16 << 10], held: 0..0, ready: Instant::now(), shut: false }
    }

    /// Passes on until the sender has ended. Each step heeds the newest orders, and what was read
    /// before a step that new orders interrupt is kept.
    async fn run(mut self, mut told: watch::Receiver<Orders>, born: Orders) -> Result<()> {
        loop {
            let now = *told.borrow_and_update();
            if !self.shut && now.halves[self.towards as usize] != born.halves[self.towards as usize] {
                self.shut().await;
            }
            let stalled = now.mischief == Mischief::Stall;
            tokio::select! {
                changed = told.changed() => changed?,
                more = self.step(now.mischief), if !stalled => if !more? {
                    return Ok(());
                },
            }
        }
    }

    /// Reads, or passes on what was read. False: the sender has ended, and the receiver was told.
    async fn step(&mut self, mischief: Mischief) -> Result<bool> {
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
        let Mischief::Slow { bytes_a_second } = mischief else {
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

    /// Tells the receiver that nothing more comes. One that is gone already need not know.
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

    /// Long enough for whatever should arrive.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// Long enough for what should not arrive to have arrived.
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
            client.set_read_timeout(Some(PATIENCE))?;
            Ok(client)
        }

        fn accept(&self) -> Result<TcpStream> {
            let (server, _) = self.server.accept()?;
            server.set_read_timeout(Some(PATIENCE))?;
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
        stream.set_read_timeout(Some(PATIENCE))?;
        let quiet = matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        ensure!(quiet, "it read {read:?}");
        Ok(())
    }

    #[test]
    fn data_passes_both_ways_and_so_does_its_end() -> Result<()> {
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
        client.set_read_timeout(Some(PATIENCE))?;
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
    fn a_cut_closes_and_refuses_until_it_is_mended() -> Result<()> {
        let scene = Scene::new()?;
        let (client, server) = scene.pair()?;
        scene.proxy.set(Mischief::Cut);
        ensure!(ended(&client) && ended(&server));
        ensure!(ended(&scene.client()?));
        scene.proxy.set(Mischief::None);
        let (client, server) = scene.pair()?;
        passes(&client, &server)?;
        // Cut and mended before the proxy can have looked.
        scene.proxy.set(Mischief::Cut);
        scene.proxy.set(Mischief::None);
        ensure!(ended(&client) && ended(&server));
        Ok(())
    }

    #[test]
    fn a_single_cut_closes_and_refuses_nobody() -> Result<()> {
        let scene = Scene::new()?;
        let (client, server) = scene.pair()?;
        scene.proxy.set(Mischief::Stall);
        scene.proxy.cut();
        ensure!(ended(&client) && ended(&server));
        scene.proxy.set(Mischief::None);
        let (client, server) = scene.pair()?;
        passes(&client, &server)
    }

    #[test]
    fn a_stall_lets_nothing_pass_and_loses_nothing() -> Result<()> {
        let scene = Scene::new()?;
        let (mut client, mut server) = scene.pair()?;
        for _ in 0..3 {
            passes(&client, &server)?;
            scene.proxy.set(Mischief::Stall);
            client.write_all(b"up")?;
            server.write_all(b"down")?;
            let waiting = scene.client()?;
            silent(&server)?;
            silent(&client)?;
            silent(&waiting)?;
            scene.proxy.set(Mischief::None);
            let (mut up, mut down) = ([0; 2], [0; 4]);
            server.read_exact(&mut up)?;
            client.read_exact(&mut down)?;
            ensure!((&up, &down) == (b"up", b"down"));
            passes(&waiting, &scene.accept()?)?;
        }
        Ok(())
    }

    #[test]
    fn slow_is_slow() -> Result<()> {
        let scene = Scene::new()?;
        let (client, mut server) = scene.pair()?;
        scene.proxy.set(Mischief::Slow { bytes_a_second: 10_000 });
        let begun = Instant::now();
        let mut sender = client.try_clone()?;
        sender.write_all(&[1; 10_000])?;
        let mut received = vec![0; 10_000];
        server.read_exact(&mut received)?;
        ensure!(begun.elapsed() > Duration::from_millis(900), "it took {:?}", begun.elapsed());
        // What is on its way hurries up as soon as it may.
        scene.proxy.set(Mischief::Slow { bytes_a_second: 0 });
        sender.write_all(&[2; 10_000])?;
        scene.proxy.set(Mischief::None);
        server.read_exact(&mut received)?;
        passes(&server, &client)
    }

    #[test]
    fn half_a_connection_goes_on() -> Result<()> {
        for towards in [Side::Client, Side::Server] {
            let scene = Scene::new()?;
            let (client, server) = scene.pair()?;
            scene.proxy.set(Mischief::HalfClose { towards });
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
            scene.proxy.set(Mischief::None);
            deaf.write_all(b"x")?;
            heard.read_exact(&mut [0])?;
            ensure!(deaf.read(&mut [0])? == 0, "{towards:?}");
        }
        Ok(())
    }

    #[test]
    fn a_later_connection_may_overtake() -> Result<()> {
        let scene = Scene::new()?;
        scene.proxy.set(Mischief::Reorder);
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
    fn it_ends_when_it_is_dropped() -> Result<()> {
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
