//! TCP rows: wrk through a balancer to real servers.

use std::time::Duration;

use anyhow::{Context, Result};

use super::contender::{Contender, Setting};
use super::cpu::{self, Thread, Times};
use super::lab::{CLIENT, Lab, VIP, command};
use super::process::{Process, nap, wait_for};
use super::proxy;
use super::results::{Sample, Unit};

/// Connections that wrk holds.
const CONNECTIONS: usize = 64;
/// wrk is not measured while it begins and ends.
const MARGIN: Duration = Duration::from_millis(200);
/// A thread that ran for this share of the time was the limit.
const FULL: f64 = 0.93;

/// What a client does with its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    KeepAlive,
    Close,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::KeepAlive => "keep-alive",
            Kind::Close => "connect, close",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Kind::KeepAlive => Unit::Requests,
            Kind::Close => Unit::Connections,
        }
    }
}

/// The TCP rows' place; servers run already.
pub struct Bench<'a> {
    pub lab: &'a Lab,
    pub setting: Setting,
    pub client_core: usize,
    pub time: Duration,
}

impl Bench<'_> {
    /// Both kinds, one after the other, through one contender.
    pub fn measure(&self, contender: Contender, round: usize) -> Result<Vec<Sample>> {
        let running = contender.start(self.lab, &self.setting)?;
        wait_for("the VIP to answer", || Ok(proxy::answers().then_some(())))?;
        let both = [Kind::KeepAlive, Kind::Close];
        both.iter().map(|kind| self.wrk(contender, &running.threads, *kind, round)).collect()
    }

    fn wrk(
        &self,
        contender: Contender,
        threads: &[Thread],
        kind: Kind,
        round: usize,
    ) -> Result<Sample> {
        let mut wrk = command(CLIENT, "taskset");
        let (core, connections) = (self.client_core.to_string(), CONNECTIONS.to_string());
        let seconds = self.time.as_secs().max(1);
        wrk.args(["-c", &core, "wrk", "-t", "1", "-c", &connections, "--latency", "-d"]);
        wrk.arg(format!("{seconds}s"));
        if kind == Kind::Close {
            wrk.args(["-H", "Connection: close"]);
        }
        wrk.arg(format!("http://{VIP}/"));
        let process = Process::start(wrk, &self.lab.path("wrk.log"))?;
        nap(MARGIN)?;
        let client = cpu::threads_named(process.id(), "wrk");
        let (before, machine) = (cpu::sums(threads)?, cpu::machine()?);
        let client_before = cpu::sums(&client)?;
        let time = Duration::from_secs(seconds) - 2 * MARGIN;
        nap(time)?;
        let (after, client_after) = (cpu::sums(threads)?, cpu::sums(&client)?);
        let idle = cpu::idle_share(&machine, &cpu::machine()?);
        let told = process.finish()?;
        let answer = Answer::read(&told).with_context(|| told.clone())?;
        let since = |after: &[Times], before: &[Times]| -> Vec<Times> {
            after.iter().zip(before).map(|(after, before)| after.since(*before)).collect()
        };
        let (balancer, client) = (since(&after, &before), since(&client_after, &client_before));
        let all = balancer.iter().fold(Times::default(), |all, one| all.plus(*one));
        let requests = answer.per_second * time.as_secs_f64();
        let busiest = |times: &[Times]| {
            times.iter().map(|times| times.ran).fold(0.0, f64::max) / 1e9 / time.as_secs_f64()
        };
        Ok(Sample {
            load: kind.name().to_owned(),
            contender: contender.name().to_owned(),
            round,
            unit: kind.unit(),
            value: answer.per_second,
            user_ns: all.user() / requests.max(1.0),
            system_ns: all.system() / requests.max(1.0),
            busy: busiest(&balancer),
            p50_us: answer.p50_us,
            p99_us: answer.p99_us,
            limit: limit(busiest(&balancer), busiest(&client), idle),
            note: answer.errors,
            ..Sample::default()
        })
    }
}

fn limit(balancer: f64, client: f64, idle: f64) -> String {
    if balancer >= FULL {
        "the balancer's core".to_owned()
    } else if client >= FULL {
        "wrk's core".to_owned()
    } else if idle < 0.05 {
        format!("all cores (balancer {:.0} %, wrk {:.0} %)", 100.0 * balancer, 100.0 * client)
    } else {
        format!("latency: {:.0} % of the machine idle", 100.0 * idle)
    }
}

/// What wrk told.
#[derive(Debug, PartialEq)]
struct Answer {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    errors: String,
}

impl Answer {
    fn read(told: &str) -> Option<Answer> {
        let after = |label: &str| {
            let line = told.lines().find(|line| line.trim_start().starts_with(label))?;
            Some(line.trim_start().strip_prefix(label)?.trim().to_owned())
        };
        Some(Answer {
            per_second: after("Requests/sec:")?.parse().ok()?,
            p50_us: microseconds(&after("50%")?)?,
            p99_us: microseconds(&after("99%")?)?,
            errors: after("Socket errors:").unwrap_or_default(),
        })
    }
}

/// A time as wrk writes it.
fn microseconds(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}
