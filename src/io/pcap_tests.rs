use std::cell::RefCell;
use std::rc::Rc;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapReader, RawPcapPacket};

use super::*;
use crate::io::RecordError;
use crate::io::check::{Fidelity, Network, check_device};

/// A capture of (seconds, fraction, frame, length on the wire) in the given resolution.
fn capture(resolution: TsResolution, records: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
    let header = PcapHeader { ts_resolution: resolution, snaplen: 96, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for &(ts_sec, ts_frac, data, orig_len) in records {
        let incl_len = data.len() as u32;
        let raw = RawPcapPacket { ts_sec, ts_frac, incl_len, orig_len, data: data.into() };
        writer.write_raw_packet(&raw).unwrap();
    }
    writer.into_writer()
}

fn ports() -> Vec<PcapPort> {
    [1u8, 2].map(|last| PcapPort { name: format!("eth{last}"), mac: mac(last) }).to_vec()
}

fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

fn open(input: &[u8]) -> Result<PcapDevice<&[u8], Vec<u8>>, PcapError> {
    let small = ChunkOptions { chunk_bytes: 512, ..PcapOptions::new(ports()).chunks };
    PcapDevice::new(input, Vec::new(), PcapOptions { chunks: small, ..PcapOptions::new(ports()) })
}

fn records(bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let mut reader = PcapReader::new(bytes).unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next_packet() {
        let record = record.unwrap();
        records.push((record.timestamp, record.data.into_owned()));
    }
    records
}

#[test]
fn frames_leave_with_the_time_they_came_in_both_resolutions() {
    for (resolution, fraction, nanoseconds) in [
        (TsResolution::MicroSecond, 123_456, 123_456_000),
        (TsResolution::NanoSecond, 123_456_789, 123_456_789),
    ] {
        let input = capture(resolution, &[(5, 1, b"first", 5), (5, fraction, b"second", 6)]);
        let mut device = open(&input).unwrap();
        while device.next_tick().is_some() {
            let mut batch = Batch::new();
            assert_eq!(device.receive(&mut batch), 1, "one millisecond a batch");
            batch.into_iter().for_each(|frame| device.transmit(PortId(0), frame).unwrap());
        }
        let output = device.finish().unwrap().unwrap();
        assert_eq!(
            output[..4],
            if nanoseconds % 1000 == 0 { 0xa1b2_c3d4u32 } else { 0xa1b2_3c4d }.to_le_bytes()
        );
        assert_eq!(records(&output)[1], (Duration::new(5, nanoseconds), b"second".to_vec()));
    }
}

#[test]
fn the_port_comes_from_the_mac_or_the_option() {
    let frame = |last| [mac(last).0.as_slice(), &[0; 54]].concat();
    let (one, two, other) = (frame(1), frame(2), frame(9));
    let input = capture(
        TsResolution::MicroSecond,
        &[(1, 0, &two, 60), (1, 0, &other, 60), (1, 0, &one, 60), (1, 0, &two[..3], 60)],
    );
    for (arrival, wanted) in [(None, [1, 0, 0, 0]), (Some(PortId(1)), [1, 1, 1, 1])] {
        let options = PcapOptions { arrival, ..PcapOptions::new(ports()) };
        let mut device = PcapDevice::new(&input[..], Vec::new(), options).unwrap();
        let mut batch = Batch::new();
        device.receive(&mut batch);
        assert_eq!(batch.iter().map(|frame| frame.port.0).collect::<Vec<_>>(), wanted);
        assert_eq!(device.truncated(), 1);
    }
}

#[test]
fn time_that_goes_back_stays_in_its_batch() {
    let input = capture(
        TsResolution::MicroSecond,
        &[(7, 0, b"a", 1), (6, 0, b"b", 1), (7, 900, b"c", 1), (7, 1000, b"d", 1)],
    );
    let mut device = open(&input).unwrap();
    let mut sizes = Vec::new();
    while let Some(tick) = device.next_tick() {
        let mut batch = Batch::new();
        device.receive(&mut batch);
        sizes.push((tick, batch.len()));
        batch.into_iter().for_each(|frame| device.release(frame));
    }
    assert_eq!(sizes, [(7000, 3), (7001, 1)]);
}

#[test]
fn frames_of_later_are_held_back() {
    let micro = TsResolution::MicroSecond;
    let input = capture(micro, &[(7, 0, b"a", 1), (8, 0, b"b", 1)]);
    let mut device = open(&input).unwrap();
    let mut batch = Batch::new();
    let rows = [(None, 0), (Some(6999), 0), (Some(7000), 1), (Some(7999), 0), (Some(8000), 1)];
    for (until, wanted) in rows {
        device.give_until(until);
        assert_eq!(device.receive(&mut batch), wanted, "until {until:?}");
    }
    batch.into_iter().for_each(|frame| device.release(frame));
}

#[test]
fn cut_and_overlong_records_are_told_apart() {
    let long = [0u8; 300];
    let input = capture(
        TsResolution::MicroSecond,
        &[(1, 0, &long[..96], 1500), (1, 0, &long, 300), (1, 0, b"x", 1)],
    );
    let mut device = open(&input).unwrap();
    let mut batch = Batch::new();
    assert_eq!(device.receive(&mut batch), 2);
    assert_eq!((device.truncated(), device.statistics().queues[0].rx_dropped), (1, 1));
    batch.into_iter().for_each(|frame| device.release(frame));
    assert!(device.finish().is_ok());
}

#[test]
fn bad_files_are_refused_with_a_reason() {
    let good = capture(TsResolution::MicroSecond, &[]);
    let with_link = |link: u32| [&good[..20], &link.to_be_bytes()].concat();
    let rows: [(&str, Vec<u8>, &str); 5] = [
        ("empty", vec![], "the capture ends within its header: 0 bytes, wanted at least 24"),
        ("short", good[..23].to_vec(), "ends within its header: 23 bytes"),
        ("pcapng", vec![0x0a, 0x0d, 0x0d, 0x0a, 0, 0], "is a pcapng file, wanted pcap; `editcap"),
        ("text", b"# not a capture, but long enough".to_vec(), "begins with [23, 20, 6e, 6f]"),
        ("cooked", with_link(DataLink::LINUX_SLL.into()), "has link type 113, wanted 1"),
    ];
    for (name, bytes, wanted) in rows {
        let message = open(&bytes).map(|_| ()).expect_err(name).to_string();
        assert!(message.contains(wanted), "{name}: {message}");
    }
}

#[test]
fn bad_records_stop_the_run_and_show_at_its_end() {
    let micro = TsResolution::MicroSecond;
    let good: (u32, u32, &[u8], u32) = (1, 0, b"good", 4);
    let rows = [
        ("cut in a header", capture(micro, &[good])[..34].to_vec(), 1, RecordError::Ends),
        ("cut in bytes", capture(micro, &[good, good])[..63].to_vec(), 2, RecordError::Ends),
        (
            "more captured than sent",
            capture(micro, &[good, (1, 0, b"good", 3), good]),
            2,
            RecordError::Lengths { captured: 4, original: 3 },
        ),
        (
            "a fraction of a second too many",
            capture(micro, &[(1, 1_000_000, b"good", 4)]),
            1,
            RecordError::Time(1_000_000),
        ),
    ];
    for (name, bytes, number, problem) in rows {
        let mut device = open(&bytes).unwrap();
        let mut batch = Batch::new();
        assert_eq!(device.receive(&mut batch) as u64, number - 1, "{name}");
        assert_eq!(device.next_tick(), None, "{name}");
        batch.into_iter().for_each(|frame| device.release(frame));
        match device.finish() {
            Err(PcapError::Record { number: at, problem: what }) => {
                assert_eq!((at, what), (number, problem), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn an_output_that_cannot_be_written_shows_at_the_end() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let input = capture(TsResolution::MicroSecond, &[(1, 0, b"x", 1)]);
    let mut device = PcapDevice::new(&input[..], Full(30), PcapOptions::new(ports())).unwrap();
    let mut batch = Batch::new();
    device.receive(&mut batch);
    batch.into_iter().for_each(|frame| device.transmit(PortId(0), frame).unwrap());
    device.flush();
    device.reclaim();
    assert!(device.census().is_conserved() && device.census().transmit == 0);
    let message = device.finish().map(|_| ()).unwrap_err().to_string();
    assert!(message.starts_with("the output capture cannot be written: "), "{message}");
}

/// An output that can be looked at while it is written.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Files {
    frames: Vec<(PortId, Vec<u8>)>,
    output: Shared,
    taken: usize,
}

impl<D> Network<D> for Files {
    fn arriving(&self) -> Vec<(PortId, Vec<u8>)> {
        self.frames.clone()
    }

    fn push(&mut self, _device: &mut D, _port: PortId, _bytes: &[u8]) -> bool {
        false
    }

    fn take(&mut self, _device: &mut D) -> Vec<(Option<PortId>, Vec<u8>)> {
        let all = records(&self.output.0.borrow());
        let new = all[self.taken..].iter().map(|(_, bytes)| (None, bytes.clone())).collect();
        self.taken = all.len();
        new
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    for seed in 0..20u8 {
        let frames: Vec<(PortId, Vec<u8>)> = (0..500u32)
            .map(|number| {
                let port = (number.wrapping_mul(0x9e37_79b9) >> 31) as u8;
                (PortId(port), [mac(port + 1).0.as_slice(), &number.to_be_bytes()].concat())
            })
            .collect();
        let records: Vec<(u32, u32, &[u8], u32)> = frames
            .iter()
            .zip(0..)
            .map(|((_, bytes), at)| (1, at * 100 * u32::from(seed), &bytes[..], bytes.len() as u32))
            .collect();
        let input = capture(TsResolution::NanoSecond, &records);
        let output = Shared::default();
        let chunks = ChunkOptions {
            chunks: 24,
            chunk_bytes: 512,
            fill: 8,
            transmit: 4,
            ..ChunkOptions::default()
        };
        let options = PcapOptions { chunks, ..PcapOptions::new(ports()) };
        let device = PcapDevice::new(&input[..], output.clone(), options).unwrap();
        check_device(seed.into(), Fidelity::Exact, (device, Files { frames, output, taken: 0 }));
    }
}
