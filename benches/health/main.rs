//! CPU of a TCP check: Guideway's prober beside a bare epoll loop that does the same system calls and
//! nothing else. 10,000 checks a second over loopback, each of an address of its own.
//!
//! Both run in this process. What is counted is the process's CPU time less that of the thread that
//! accepts; over loopback the kernel's work for both ends of a handshake is done in the caller's time,
//! so it is in both counts. The two take turns, so that a busy machine meets both.

mod bare;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guideway::control::{HealthCheckKind, HealthCheckSpec};
use guideway::health::{ProbeTarget, Prober};
use rustix::time::{ClockId, clock_gettime};
use server::{Reading, Server};
use tokio::sync::{mpsc, watch};

/// One check a second each.
const TARGETS: u16 = 10_000;
const INTERVAL: Duration = Duration::from_secs(1);
/// Until every target was asked once or twice.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// CPU time of a clock, in nanoseconds.
fn cpu_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// Loopback has addresses enough.
fn sockets(port: u16) -> Vec<SocketAddr> {
    let socket = |number: u16| {
        let [high, low] = number.to_be_bytes();
        SocketAddr::from(([127, 1, high, low], port))
    };
    (0..TARGETS).map(socket).collect()
}

/// A contender, ended when it goes out of scope.
type Contender = Box<dyn FnOnce()>;

fn start_guideway(sockets: &[SocketAddr]) -> Contender {
    let interval_ms = INTERVAL.as_millis() as u32;
    let spec = HealthCheckSpec { interval_ms, ..HealthCheckSpec::new(HealthCheckKind::TCP) };
    let spec = Arc::new(spec);
    let target = |(number, &socket): (usize, &SocketAddr)| ProbeTarget {
        service: format!("service-{}", number / 100).into(),
        backend: format!("backend-{}", number % 100).into(),
        socket,
        spec: spec.clone(),
    };
    let targets: Vec<ProbeTarget> = sockets.iter().enumerate().map(target).collect();
    let targets = vec![targets.into()];
    // As `guideway run` has it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (sender, watched) = watch::channel(Arc::new(targets));
    let (events, mut seen) = mpsc::channel(1024);
    runtime.spawn(Prober::new(7, 8_192).run(watched, events));
    runtime.spawn(async move { while seen.recv().await.is_some() {} });
    Box::new(move || {
        drop(sender);
        runtime.shutdown_timeout(Duration::from_secs(1));
    })
}

/// Checks a second, and CPU microseconds a check.
fn measure(start: impl FnOnce() -> Contender, server: &Server, time: Duration) -> (f64, f64) {
    let stop = start();
    std::thread::sleep(WARM_UP);
    let read = || (server.read(), cpu_ns(ClockId::ProcessCPUTime));
    let ((before, cpu_before), began) = (read(), std::time::Instant::now());
    std::thread::sleep(time);
    let ((after, cpu_after), passed) = (read(), began.elapsed());
    stop();
    let Reading { accepted, cpu_ns } = after - before;
    let own_ns = (cpu_after - cpu_before).saturating_sub(cpu_ns);
    (accepted as f64 / passed.as_secs_f64(), own_ns as f64 / 1_000.0 / accepted.max(1) as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let is_short = std::env::args().any(|argument| argument == "--short");
    let (rounds, time) =
        if is_short { (3, Duration::from_secs(2)) } else { (7, Duration::from_secs(4)) };
    let server = Server::start();
    let sockets = sockets(server.port());
    let (mut bare, mut ours) = (vec![], vec![]);
    println!("{:>5}  {:>22}  {:>22}  {:>5}", "", "bare epoll", "guideway", "");
    println!(
        "{:>5}  {:>10}  {:>10}  {:>10}  {:>10}  {:>5}",
        "round", "checks/s", "CPU us", "checks/s", "CPU us", "ratio"
    );
    for round in 1..=rounds {
        let (rate, cpu) = measure(|| bare::start(sockets.clone(), INTERVAL), &server, time);
        let (our_rate, our_cpu) = measure(|| start_guideway(&sockets), &server, time);
        println!(
            "{round:>5}  {rate:>10.0}  {cpu:>10.2}  {our_rate:>10.0}  {our_cpu:>10.2}  {:>5.2}",
            our_cpu / cpu
        );
        bare.push(cpu);
        ours.push(our_cpu);
    }
    let (bare, ours) = (median(bare), median(ours));
    println!("medians: bare {bare:.2} us, guideway {ours:.2} us a check: {:.2} times", ours / bare);
}
