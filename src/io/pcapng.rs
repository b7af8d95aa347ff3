//! Writes capture files of several interfaces with a comment to each frame (pcapng,
//! draft-ietf-opsawg-pcapng).

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::PcapNgBlock;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};

use super::PcapError;

/// Time stamps in units of 10^-9 s (section 4.2, `if_tsresol`).
const NANOSECONDS: u8 = 9;
/// Direction in a frame's flags (section 4.3, `epb_flags`).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A frame to be written.
#[derive(Clone, Copy, Debug)]
pub struct CapturedFrame<'a> {
    /// Since 1970.
    pub time: Duration,
    /// Name of the interface it came in or leaves by.
    pub interface: &'a str,
    /// Does it leave?
    pub leaves: bool,
    /// What is said of it.
    pub comment: &'a str,
    /// Bytes that it had.
    pub len: u32,
    /// The first of them.
    pub bytes: &'a [u8],
}

/// A pcapng file in the making.
pub struct PcapngWriter<W: Write> {
    writer: PcapNgWriter<W>,
    /// Interfaces that the file knows, in the order of their numbers.
    interfaces: Vec<String>,
}

impl<W: Write> PcapngWriter<W> {
    /// Writes the file's header.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(output: W) -> Result<PcapngWriter<W>, PcapError> {
        let application = concat!("guideway ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: pcap_file::Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(application))],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(output, section);
        let writer = writer.map_err(PcapError::of_output)?;
        Ok(PcapngWriter { writer, interfaces: Vec::new() })
    }

    /// Writes a frame, and before it its interface when that is a new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, frame: &CapturedFrame<'_>) -> Result<(), PcapError> {
        let interface_id = self.interface(frame.interface)?;
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: frame.time,
            original_len: frame.len,
            data: Cow::Borrowed(frame.bytes),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Borrowed(frame.comment)),
                EnhancedPacketOption::Flags(if frame.leaves { OUTBOUND } else { INBOUND }),
            ],
        };
        let written = self.writer.write_block(&block.into_block());
        written.map(drop).map_err(PcapError::of_output)
    }

    fn interface(&mut self, name: &str) -> Result<u32, PcapError> {
        let number = self.interfaces.iter().position(|known| known == name);
        if number.is_none() {
            let block = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            };
            self.writer.write_block(&block.into_block()).map_err(PcapError::of_output)?;
            self.interfaces.push(name.to_owned());
        }
        Ok(number.unwrap_or(self.interfaces.len() - 1) as u32)
    }

    /// Hands on what the output keeps back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), PcapError> {
        self.writer.get_mut().flush().map_err(PcapError::Output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};

    #[test]
    fn interfaces_come_before_their_frames_and_once() {
        let mut file = Vec::new();
        let mut writer = PcapngWriter::new(&mut file).unwrap();
        let time = Duration::new(1_700_000_000, 123_456_789);
        for (interface, leaves) in [("eth1", false), ("eth2", true), ("eth1", false)] {
            let bytes = &[7; 60];
            let comment = "forward by eth2";
            let frame = CapturedFrame { time, interface, leaves, comment, len: 1514, bytes };
            writer.write(&frame).unwrap();
        }
        let mut reader = PcapNgReader::new(&file[..]).unwrap();
        let mut found = Vec::new();
        while let Some(block) = reader.next_block() {
            found.push(match block.unwrap() {
                Block::InterfaceDescription(interface) => {
                    let name = interface.options.iter().find_map(|option| match option {
                        InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                        _ => None,
                    });
                    name.unwrap()
                }
                Block::EnhancedPacket(packet) => {
                    assert_eq!((packet.original_len, packet.data.len()), (1514, 60));
                    assert_eq!(packet.timestamp, time);
                    format!("{} {:?}", packet.interface_id, packet.options)
                }
                other => panic!("{other:?}"),
            });
        }
        let options = |flags| format!("[Comment(\"forward by eth2\"), Flags({flags})]");
        let frame = |id: u32, flags: u32| format!("{id} {}", options(flags));
        let wanted = ["eth1".into(), frame(0, 1), "eth2".into(), frame(1, 2), frame(0, 1)];
        assert_eq!(found, wanted);
    }
}
