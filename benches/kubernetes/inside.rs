//! What is done in the client's namespace: objects are made, packets sent, Guideway is started and watched.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::TryStreamExt;
use kube::Client;
use kube::api::DynamicObject;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;

use super::cluster::PREFIX;
use super::guideway::{Guideway, VIPS};
use super::load;
use super::peer::{REAL, wait_for_answer};
use super::table::{Row, Rows, at_ms};

/// Services of ours among those of others.
const FEW: usize = 50;
/// Times that the endpoint of one service is another one.
const CHANGES: usize = 200;
/// Services that are made one by one, and how many of them a second.
const MADE: usize = 250;
const A_SECOND: u32 = 50;
/// Changes a second while CPU is counted, and for how long.
const CHURN_A_SECOND: u32 = 200;
const CHURN: Duration = Duration::from_secs(10);

/// When each service had an address in its status, and which.
type Seen = Arc<Mutex<HashMap<String, (Instant, IpAddr)>>>;

pub fn run(folder: &Path, services: usize) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(folder, services))
}

async fn connect(folder: &Path) -> anyhow::Result<Client> {
    let file = Kubeconfig::read_from(folder.join("cluster/kubeconfig"))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn command(words: &str) -> anyhow::Result<()> {
    let mut parts = words.split(' ');
    let status = Command::new(parts.next().unwrap_or_default()).args(parts).status()?;
    ensure!(status.success(), "{words}: {status}");
    Ok(())
}

/// Endpoints that answer, on node n1; they go with the namespace.
fn start_endpoints() -> anyhow::Result<Vec<Child>> {
    let node = format!("{PREFIX}n1");
    let mut children = vec![];
    for address in REAL {
        command(&format!("ip -n {node} address add {address}/32 dev lo"))?;
        let mut echo = Command::new("nsenter");
        echo.arg(format!("--net=/run/netns/{node}")).arg("--").arg(std::env::current_exe()?);
        children.push(echo.arg("--echo").arg(address.to_string()).stdin(Stdio::null()).spawn()?);
    }
    command(&format!("ip route add {VIPS} via 198.51.100.1 dev e1 onlink src 198.51.100.2"))?;
    Ok(children)
}

fn watch(client: &Client) -> Seen {
    let seen = Seen::default();
    let (api, told) = (load::services(client), seen.clone());
    tokio::spawn(async move {
        let config = watcher::Config::default().labels("bench=yes");
        let note = async |event: watcher::Event<DynamicObject>| {
            if let watcher::Event::Apply(object) | watcher::Event::InitApply(object) = event {
                let ip = object.data["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
                let address = ip.and_then(|ip| ip.parse::<IpAddr>().ok());
                if let (Some(name), Some(address)) = (object.metadata.name, address) {
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.entry(name).or_insert_with(|| (Instant::now(), address));
                }
            }
            Ok(())
        };
        watcher(api, config).try_for_each(note).await
    });
    seen
}

async fn wait_for(seen: &Seen, count: usize, most: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let there = seen.lock().unwrap_or_else(PoisonError::into_inner).len();
        if there >= count {
            return Ok(());
        }
        if began.elapsed() > most {
            bail!("only {there} of {count} services have an address after {most:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn address_of(seen: &Seen, name: &str) -> anyhow::Result<IpAddr> {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.get(name).map(|found| found.1).with_context(|| format!("{name} has no address"))
}

async fn measure(folder: &Path, services: usize) -> anyhow::Result<()> {
    let client = connect(folder).await?;
    let mut peers = start_endpoints()?;
    let done = measure_with(&client, folder, services).await;
    for peer in &mut peers {
        let _ = peer.kill();
        let _ = peer.wait();
    }
    if done.is_err() {
        let log = std::fs::read_to_string(folder.join("guideway.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("{}", lines[lines.len().saturating_sub(20)..].join("\n"));
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/kubernetes.csv");
    done?.tell(&file)?;
    Ok(())
}

async fn measure_with(client: &Client, folder: &Path, services: usize) -> anyhow::Result<Rows> {
    let mut rows = Rows::default();
    Guideway::install(folder)?;
    let empty = Guideway::start(folder, None)?;
    let empty_mb = empty.settled_mb();
    drop(empty);

    let began = Instant::now();
    let names = |prefix: &str, count: usize| {
        (0..count).map(|number| (number, format!("{prefix}-{number}"))).collect::<Vec<_>>()
    };
    load::make(client, names("s", services), None).await?;
    load::make(client, names("few", FEW), Some("guideway.dev/external")).await?;
    println!(
        "{services} Services of {} endpoints made in {:.1?}",
        load::ENDPOINTS,
        began.elapsed()
    );

    let seen = watch(client);
    let few = Guideway::start(folder, Some(false))?;
    wait_for(&seen, FEW, Duration::from_secs(60)).await?;
    let value = few.settled_mb() - empty_mb;
    let what = "memory, 50 of ours among them";
    rows.add(Row { what, value, unit: "MB", must: 40.0, goal: 25.0 });
    drop(few);

    let began = Instant::now();
    let guideway = Guideway::start(folder, Some(true))?;
    wait_for(&seen, FEW + services, Duration::from_secs(300)).await?;
    let value = began.elapsed().as_secs_f64();
    rows.add(Row { what: "cold allocation of all", value, unit: "s", must: 30.0, goal: 15.0 });

    load::make_probed(client, "probed").await?;
    wait_for(&seen, FEW + services + 1, Duration::from_secs(10)).await?;
    let vip = address_of(&seen, "probed")?;
    rows.add(endpoint_changes(client, vip).await?);
    rows.add(made_one_by_one(client, &seen).await?);
    let (idle, busy) = churn(client, &guideway, services).await?;
    println!("CPU with nothing to do: {idle:.1} %");
    let what = "CPU at 200 endpoint changes a second";
    rows.add(Row { what, value: busy - idle, unit: "%", must: 8.0, goal: 4.0 });
    let value = guideway.settled_mb() - empty_mb;
    rows.add(Row { what: "memory", value, unit: "MB", must: 180.0, goal: 100.0 });
    drop(guideway);

    load::change(client, "probed", &REAL[..1]).await?;
    let guideway = Guideway::start(folder, Some(true))?;
    let value = guideway.first_answer(vip)?.as_secs_f64();
    let what = "start to the first complete snapshot";
    rows.add(Row { what, value, unit: "s", must: 2.0, goal: 0.8 });
    Ok(rows)
}

/// From the API's answer to the first packet that goes to the new endpoint.
async fn endpoint_changes(client: &Client, vip: IpAddr) -> anyhow::Result<Row> {
    let most = Duration::from_secs(10);
    tokio::task::spawn_blocking(move || wait_for_answer(vip, REAL[0], most)).await??;
    let mut times = vec![];
    for turn in 1..=CHANGES {
        let address = REAL[turn % 2];
        load::change(client, "probed", &[address]).await?;
        let wait = move || wait_for_answer(vip, address, most);
        times.push(tokio::task::spawn_blocking(wait).await??);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("one endpoint changed, p50 {:.1} ms", at_ms(&times, 0.5));
    let what = "one endpoint changed, to the first packet that goes there, p99";
    Ok(Row { what, value: at_ms(&times, 0.99), unit: "ms", must: 15.0, goal: 3.0 })
}

async fn made_one_by_one(client: &Client, seen: &Seen) -> anyhow::Result<Row> {
    let mut made: Vec<(String, Instant)> = vec![];
    let mut tick = tokio::time::interval(Duration::from_secs(1) / A_SECOND);
    let before = seen.lock().unwrap_or_else(PoisonError::into_inner).len();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..MADE {
        tick.tick().await;
        let name = format!("made-{number}");
        made.push((name.clone(), Instant::now()));
        let client = client.clone();
        tasks.spawn(async move {
            load::create(&load::services(&client), load::service(&name, None)).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    wait_for(seen, before + MADE, Duration::from_secs(30)).await?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let times: Vec<Duration> =
        made.iter().filter_map(|(name, at)| Some(seen.get(name)?.0 - *at)).collect();
    println!("created to address in status, p50 {:.1} ms", at_ms(&times, 0.5));
    let what = "created to address in status, 50 a second, p99";
    Ok(Row { what, value: at_ms(&times, 0.99), unit: "ms", must: 150.0, goal: 50.0 })
}

/// CPU of Guideway, in percent of a core: with nothing to do, and while endpoints change.
async fn churn(
    client: &Client,
    guideway: &Guideway,
    services: usize,
) -> anyhow::Result<(f64, f64)> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = guideway.cpu_percent(Duration::from_secs(3)).await;
    let (client, mut tasks) = (client.clone(), tokio::task::JoinSet::new());
    let load = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / CHURN_A_SECOND);
        let began = Instant::now();
        let mut turn = 0usize;
        while began.elapsed() < CHURN + Duration::from_secs(1) {
            tick.tick().await;
            turn += 1;
            let (client, number) = (client.clone(), turn * 7_919 % services);
            tasks.spawn(async move {
                let mut endpoints = load::invented(number);
                endpoints.truncate(load::ENDPOINTS - 1 - turn % 2);
                load::change(&client, &format!("s-{number}"), &endpoints).await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        anyhow::Ok(turn)
    });
    let busy = guideway.cpu_percent(CHURN).await;
    let made = load.await??;
    println!("{made} endpoint changes in {:.0?}", CHURN + Duration::from_secs(1));
    Ok((idle, busy))
}
