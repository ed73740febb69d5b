//! A real Prometheus, and an exporter for it to scrape. Knows nothing of the other tests, so that another test binary can have
//! it by `#[path]`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_mins(1);

/// An agent's metrics, as a Prometheus scrapes them. Ends when it is dropped.
pub(super) struct Exporter {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    series: Mutex<BTreeMap<String, f64>>,
    scrapes: AtomicUsize,
    is_over: AtomicBool,
}

impl Exporter {
    /// Serves `/metrics` on a free port, with nothing in it yet.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    // A scraper that hangs up takes nothing along.
                    let _ = answer(&stream.unwrap(), &shared);
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// The `HOST:PORT` to scrape.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets a series, such as `agent_errors` or `agent_requests{pod="a"}`. `NaN` and infinities are as good as any number.
    pub(super) fn set(&self, series: &str, value: f64) {
        self.shared.series.lock().unwrap().insert(series.to_owned(), value);
    }

    /// Leaves a series out from now on.
    pub(super) fn remove(&self, series: &str) {
        self.shared.series.lock().unwrap().remove(series);
    }

    /// Waits until everything that was set before has been scraped so many times.
    pub(super) fn scraped(&self, times: usize) {
        // One may have been under way when it was set.
        let wanted = self.shared.scrapes.load(Ordering::SeqCst) + times + 1;
        eventually("a scrape", || (self.shared.scrapes.load(Ordering::SeqCst) >= wanted).then_some(()));
    }
}

fn answer(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut lines = BufReader::new(stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut text = String::new();
    for (series, value) in &*shared.series.lock().unwrap() {
        let value = match *value {
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            value => value.to_string(),
        };
        text.extend([series, " ", &value, "\n"]);
    }
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )?;
    shared.scrapes.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A Prometheus on a free port, with its data in a folder of its own. Killed when it is dropped.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    _data: TempDir,
}

impl Server {
    /// Starts one that scrapes these targets so often, and waits until it answers.
    pub(super) fn start(targets: &[SocketAddr], interval: Duration) -> Self {
        Self::start_with(targets, interval, None)
    }

    /// The same, with a web configuration: passwords, for instance.
    pub(super) fn start_with(targets: &[SocketAddr], interval: Duration, web: Option<&str>) -> Self {
        // Somebody else may take the port before Prometheus does.
        let started = (0..5).find_map(|_| Self::try_start(targets, interval, web));
        started.expect("Prometheus ends as soon as it is started; its words are above")
    }

    fn try_start(targets: &[SocketAddr], interval: Duration, web: Option<&str>) -> Option<Self> {
        let data = tempfile::tempdir().unwrap();
        let path = |file: &str| data.path().join(file);
        let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let millis = interval.as_millis();
        let config = format!(
            "global: {{scrape_interval: {millis}ms, scrape_timeout: {millis}ms}}\nscrape_configs:\n- job_name: agent\n  \
             static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(path("prometheus.yml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(web) = web {
            std::fs::write(path("web.yml"), web).unwrap();
            command.arg(format!("--web.config.file={}", path("web.yml").display()));
        }
        let child = command.spawn().unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => {
                panic!("there is no program `prometheus`; install it (Debian: apt-get install prometheus)")
            }
            _ => panic!("cannot start prometheus: {error}"),
        });
        let mut server = Self { child, address, _data: data };
        let is_up = eventually("Prometheus", || match server.child.try_wait().unwrap() {
            Some(_) => Some(false),
            None => server.is_ready().then_some(true),
        });
        is_up.then_some(server)
    }

    /// Whether it answers; that it wants a password is an answer.
    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut line = String::new();
        write!(stream, "GET /-/ready HTTP/1.0\r\nhost: prometheus\r\n\r\n").unwrap();
        let read = BufReader::new(stream).read_line(&mut line);
        read.is_ok() && (line.contains(" 200 ") || line.contains(" 401 "))
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets it hang: connections are taken, and nothing is answered.
    pub(super) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(super) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Ends it: connections are refused.
    pub(super) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until there is something.
pub(super) fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} never happened");
        std::thread::sleep(Duration::from_millis(10));
    }
}
