//! `guideway capture`: copies of frames with the verdict of each, where the kernel's tcpdump sees nothing.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::ask::{AskArgs, Output, ask, is_closed_pipe};
use crate::admin::proto::{CaptureRequest, CapturedFrame};
use crate::io::PcapError;
use crate::io::pcapng::{self, PcapngWriter};
use crate::wire::ends_of;

/// Copy frames of a running Guideway with the verdict of each: a line for each frame, or a pcapng file with the
/// verdict in each frame's comment.
///
/// Interfaces that Guideway has taken show tcpdump only what it leaves to the kernel. Ends at ^C, or as
/// --count and --seconds say. Workers never wait for it: what is not read fast enough is lost, and counted.
#[derive(clap::Args, Debug)]
pub struct CaptureArgs {
    /// Where frames are copied: as they come in, as they leave, or as those came in that are dropped
    /// [default: in and out].
    #[arg(long = "point", value_name = "POINT", value_parser = ["in", "out", "drop"])]
    points: Vec<String>,
    /// Only frames from or to this address or network, before or after they are rewritten: both directions of a
    /// client's connections.
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// Only frames with this verdict: forward, reply, drop, not_ours, or the name of a reply or of a reason to
    /// drop, such as tcp_reset or no_backend. May be given several times.
    #[arg(long = "verdict", value_name = "VERDICT")]
    verdicts: Vec<String>,
    /// Copy one frame of so many.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    one_in: u32,
    /// Most bytes to copy of a frame.
    #[arg(long, value_name = "BYTES", default_value_t = 2048)]
    snap_bytes: u32,
    /// End after so many copies.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Write a pcapng file for Wireshark; `-` for standard output.
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    ask: AskArgs,
}

/// Asks, and writes until it is to end.
pub fn run(args: &CaptureArgs) -> ExitCode {
    let request = CaptureRequest {
        points: args.points.clone(),
        client: args.client.clone().unwrap_or_default(),
        verdicts: args.verdicts.clone(),
        one_in: args.one_in,
        snap_bytes: args.snap_bytes,
    };
    ask("capture", &args.ask, |mut admin| async move {
        let mut frames = admin.capture(request).await?.into_inner();
        // The first answer says that the capture has begun.
        frames.message().await?;
        let mut sink = Sink::open(args)?;
        let limit = args.seconds.map_or(Duration::MAX, Duration::from_secs);
        let most = args.count.unwrap_or(u64::MAX);
        let (mut written, mut lost) = (0, 0);
        if std::io::stderr().is_terminal() && args.write.is_some() {
            eprintln!("capturing; ^C ends it");
        }
        let result = async {
            while let Some(part) = frames.message().await? {
                lost = part.lost;
                for frame in &part.frames {
                    if written == most {
                        return Ok(());
                    }
                    sink.put(frame)?;
                    written += 1;
                }
                sink.flush()?;
                if written == most {
                    return Ok(());
                }
            }
            anyhow::bail!("Guideway has ended the capture: is it still running?")
        };
        let result = tokio::select! {
            result = result => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
            () = tokio::time::sleep(limit.min(FOR_EVER)) => Ok(()),
        };
        if let Err(error) = &result
            && is_closed_pipe(error)
        {
            return Ok(());
        }
        sink.flush()?;
        let frames = if written == 1 { "frame" } else { "frames" };
        eprintln!("{written} {frames} captured, {lost} lost since they were not read fast enough");
        result
    })
}

/// What tokio can wait for.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// Where frames are written.
enum Sink {
    File(PcapngWriter<Box<dyn Write>>),
    Lines(Output),
}

impl Sink {
    fn open(args: &CaptureArgs) -> anyhow::Result<Sink> {
        let Some(path) = &args.write else { return Ok(Sink::Lines(args.ask.output)) };
        let output: Box<dyn Write> = if path == Path::new("-") {
            Box::new(BufWriter::new(std::io::stdout()))
        } else {
            let file = File::create(path);
            let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
            Box::new(BufWriter::new(file))
        };
        Ok(Sink::File(PcapngWriter::new(output)?))
    }

    fn put(&mut self, frame: &CapturedFrame) -> anyhow::Result<()> {
        match self {
            Sink::File(writer) => {
                let written = writer.write(&pcapng::CapturedFrame {
                    time: Duration::from_nanos(frame.time_ns),
                    interface: &frame.interface,
                    leaves: frame.point == "out",
                    comment: &frame.comment,
                    len: frame.len,
                    bytes: &frame.data,
                });
                written.map_err(in_plain)?;
            }
            Sink::Lines(Output::Json) => writeln!(std::io::stdout(), "{}", json(frame)?)?,
            // A line of JSON is one of YAML, too.
            Sink::Lines(Output::Yaml) => writeln!(std::io::stdout(), "--- {}", json(frame)?)?,
            Sink::Lines(Output::Table) => writeln!(std::io::stdout(), "{}", line(frame))?,
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Sink::File(writer) => writer.flush().map_err(in_plain),
            Sink::Lines(_) => Ok(std::io::stdout().flush()?),
        }
    }
}

/// The cause of a closed pipe is looked for among plain errors.
fn in_plain(error: PcapError) -> anyhow::Error {
    match error {
        PcapError::Output(error) => error.into(),
        other => other.into(),
    }
}

/// With the bytes as hexadecimal text.
fn json(frame: &CapturedFrame) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(frame)?;
    let hex: String = frame.data.iter().map(|byte| format!("{byte:02x}")).collect();
    value["data"] = hex.into();
    Ok(value.to_string())
}

/// `12:00:01.500000 in  eth1 10.1.0.2 > 10.1.0.100, 60 bytes: forward by eth2, service web, worker 0`; the time
/// of day is UTC's.
fn line(frame: &CapturedFrame) -> String {
    let (seconds, micros) = (frame.time_ns / 1_000_000_000, frame.time_ns % 1_000_000_000 / 1000);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let ends = ends_of(&frame.data);
    let ends = ends.map_or_else(
        || "no addresses".to_owned(),
        |(source, destination)| format!("{} > {}", source.ip(), destination.ip()),
    );
    let CapturedFrame { point, interface, len, comment, .. } = frame;
    format!(
        "{hour:02}:{minute:02}:{second:02}.{micros:06} {point:<3} {interface} {ends}, {len} bytes: {comment}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::samples;

    #[test]
    fn a_frame_in_a_line() {
        let frame = CapturedFrame {
            time_ns: 86_400_000_000_000 * 20_000 + 3_661_000_250_000,
            interface: "eth1".into(),
            point: "in".into(),
            verdict: "forward".into(),
            comment: "forward by eth2, service web, worker 0".into(),
            len: 74,
            data: samples::bytes(samples::TCP_SYN),
        };
        assert_eq!(
            line(&frame),
            "01:01:01.000250 in  eth1 10.1.0.50 > 10.1.0.100, 74 bytes: forward by eth2, service web, worker 0"
        );
        let broken = CapturedFrame { data: vec![0; 10], point: "out".into(), ..frame };
        assert!(line(&broken).contains("out eth1 no addresses, 74 bytes"), "{}", line(&broken));
    }
}
