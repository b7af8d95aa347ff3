//! Reads capture files (classic pcap), and says clearly what is wrong with bad ones.

use std::io::{Cursor, ErrorKind, Read};
use std::time::Duration;

use pcap_file::pcap::{PcapReader, RawPcapPacket};
use pcap_file::{DataLink, TsResolution};

/// What is wrong with a capture.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// Shorter than a pcap header.
    #[error("the capture ends within its header: {0} bytes, wanted at least 24")]
    NoHeader(usize),
    /// The newer format.
    #[error("the capture is a pcapng file, wanted pcap; `editcap -F nsecpcap IN OUT` converts it")]
    PcapNg,
    /// Something else.
    #[error(
        "the capture begins with {0:02x?}, wanted the magic number of a pcap file \
         (a1b2c3d4 or a1b23c4d, in either byte order)"
    )]
    NotPcap([u8; 4]),
    /// Frames of another kind.
    #[error(
        "the capture has link type {0}, wanted 1 (Ethernet); capture on one interface, not `any`"
    )]
    LinkType(u32),
    /// One record cannot be read.
    #[error("record {number} of the capture: {problem}")]
    Record {
        /// Counted from 1.
        number: u64,
        /// What is wrong.
        problem: RecordError,
    },
    /// The input cannot be read.
    #[error("the capture cannot be read: {0}")]
    Input(std::io::Error),
    /// The output cannot be written.
    #[error("the output capture cannot be written: {0}")]
    Output(std::io::Error),
}

/// What is wrong with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// No more bytes.
    #[error("the file ends within it, or its length is wrong")]
    Ends,
    /// More captured than sent.
    #[error("{captured} bytes captured of a frame of {original}")]
    Lengths {
        /// Captured length.
        captured: u32,
        /// Length on the wire.
        original: u32,
    },
    /// A fraction of a second that is a second or more.
    #[error("its time has a fraction of {0}, wanted less than a second")]
    Time(u32),
}

impl PcapError {
    pub(in crate::io) fn of_output(error: pcap_file::PcapError) -> PcapError {
        PcapError::Output(match error {
            pcap_file::PcapError::IoError(error) => error,
            other => std::io::Error::other(other),
        })
    }
}

/// One frame of a capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::io) struct Record {
    /// Since 1970.
    pub time: Duration,
    /// As many bytes as were captured.
    pub bytes: Vec<u8>,
    /// The frame on the wire was longer.
    pub is_truncated: bool,
}

/// The records of a capture in their order.
pub(in crate::io) struct CaptureReader<R: Read> {
    reader: PcapReader<std::io::Chain<Cursor<Vec<u8>>, R>>,
    resolution: TsResolution,
    number: u64,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the header.
    pub fn new(mut input: R) -> Result<Self, PcapError> {
        let mut head = Vec::with_capacity(HEADER_LEN);
        input.by_ref().take(HEADER_LEN as u64).read_to_end(&mut head).map_err(PcapError::Input)?;
        if let Some(&magic) = head.first_chunk::<4>() {
            check_magic(magic)?;
        }
        if head.len() < HEADER_LEN {
            return Err(PcapError::NoHeader(head.len()));
        }
        let reader = PcapReader::new(Cursor::new(head).chain(input)).map_err(|error| {
            PcapError::Input(match error {
                pcap_file::PcapError::IoError(error) => error,
                other => std::io::Error::other(other),
            })
        })?;
        let header = reader.header();
        if header.datalink != DataLink::ETHERNET {
            return Err(PcapError::LinkType(header.datalink.into()));
        }
        Ok(CaptureReader { reader, resolution: header.ts_resolution, number: 0 })
    }

    /// Unit of the time stamps.
    pub fn resolution(&self) -> TsResolution {
        self.resolution
    }

    /// The next record; none at the end of the file.
    pub fn next(&mut self) -> Result<Option<Record>, PcapError> {
        self.number += 1;
        let number = self.number;
        let wrong = |problem| PcapError::Record { number, problem };
        // The checked form of this call refuses frames longer than the snap length: every record
        // that was cut. So the fields are checked here.
        match self.reader.next_raw_packet() {
            None => Ok(None),
            Some(Ok(raw)) => check_record(raw, self.resolution).map(Some).map_err(wrong),
            Some(Err(pcap_file::PcapError::IoError(error)))
                if error.kind() != ErrorKind::UnexpectedEof =>
            {
                Err(PcapError::Input(error))
            }
            Some(Err(_)) => Err(wrong(RecordError::Ends)),
        }
    }
}

const HEADER_LEN: usize = 24;

fn check_magic(magic: [u8; 4]) -> Result<(), PcapError> {
    match u32::from_be_bytes(magic) {
        0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 => Ok(()),
        0x0a0d_0d0a => Err(PcapError::PcapNg),
        _ => Err(PcapError::NotPcap(magic)),
    }
}

fn check_record(raw: RawPcapPacket<'_>, resolution: TsResolution) -> Result<Record, RecordError> {
    let unit_ns = if resolution == TsResolution::MicroSecond { 1000 } else { 1 };
    let nanoseconds = raw.ts_frac.checked_mul(unit_ns).filter(|&fraction| fraction < 1_000_000_000);
    let nanoseconds = nanoseconds.ok_or(RecordError::Time(raw.ts_frac))?;
    if raw.incl_len > raw.orig_len {
        return Err(RecordError::Lengths { captured: raw.incl_len, original: raw.orig_len });
    }
    Ok(Record {
        time: Duration::new(raw.ts_sec.into(), nanoseconds),
        bytes: raw.data.into_owned(),
        is_truncated: raw.incl_len < raw.orig_len,
    })
}
