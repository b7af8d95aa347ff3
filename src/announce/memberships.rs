//! Multicast groups joined in the kernel, by sockets that nothing is ever read from.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::{set_ipv6_add_membership, set_ipv6_drop_membership};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// A link, by the kernel's number, and a group joined on it.
pub type Membership = (u32, Ipv6Addr);

/// Groups of one socket: the kernel bounds what options of a socket take (`net.core.optmem_max`).
const OF_A_SOCKET: usize = 128;

/// What is joined, and by which socket. All is left when it is dropped.
#[derive(Debug, Default)]
pub struct Memberships {
    joined: BTreeMap<Membership, usize>,
    sockets: Vec<Socket>,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    groups: usize,
}

impl Memberships {
    /// Leaves what is not in `wanted` and joins what is new in it; gives what was refused.
    pub fn follow(&mut self, wanted: &BTreeSet<Membership>) -> Vec<(Membership, io::Error)> {
        let gone: Vec<_> = self.joined.keys().filter(|m| !wanted.contains(m)).copied().collect();
        gone.into_iter().for_each(|membership| self.leave(membership));
        let mut refused = vec![];
        for &membership in wanted {
            if self.joined.contains_key(&membership) {
                continue;
            }
            if let Err(error) = self.join(membership) {
                refused.push((membership, error));
            }
        }
        refused
    }

    fn join(&mut self, membership: Membership) -> io::Result<()> {
        let with_room = self.sockets.iter().position(|socket| socket.groups < OF_A_SOCKET);
        let place = match with_room {
            Some(place) => place,
            None => {
                let flags = SocketFlags::CLOEXEC;
                let fd = socket_with(AddressFamily::INET6, SocketType::DGRAM, flags, None)?;
                self.sockets.push(Socket { fd, groups: 0 });
                self.sockets.len() - 1
            }
        };
        let Some(socket) = self.sockets.get_mut(place) else { return Ok(()) };
        let (ifindex, group) = membership;
        set_ipv6_add_membership(&socket.fd, &group, ifindex)?;
        socket.groups += 1;
        self.joined.insert(membership, place);
        Ok(())
    }

    fn leave(&mut self, membership: Membership) {
        let Some(place) = self.joined.remove(&membership) else { return };
        let Some(socket) = self.sockets.get_mut(place) else { return };
        let (ifindex, group) = membership;
        // Refused only where the link is gone, and then nothing is joined any more.
        let _ = set_ipv6_drop_membership(&socket.fd, &group, ifindex);
        socket.groups -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups on loopback that begin with ff02::1:ff and end in `ee` and these two octets, as
    /// /proc/net/igmp6 has them.
    fn joined() -> Vec<String> {
        let all = std::fs::read_to_string("/proc/net/igmp6").unwrap();
        let groups = all.lines().filter_map(|line| line.split_whitespace().nth(2));
        let ours = groups.filter(|group| group.starts_with("ff0200000000000000000001ffee"));
        let mut ours: Vec<String> = ours.map(|group| group[28..].to_string()).collect();
        ours.sort();
        ours
    }

    fn group(last: u16) -> Membership {
        (1, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xffee, last))
    }

    #[test]
    fn joined_kept_and_left() {
        let mut memberships = Memberships::default();
        let mut follow = |lasts: &[u16]| {
            let wanted = lasts.iter().map(|&last| group(last)).collect();
            memberships.follow(&wanted)
        };
        if let Some((_, error)) = follow(&[1]).first() {
            println!("not run: no IPv6 on loopback: {error}");
            return;
        }
        assert!(follow(&[1, 2]).is_empty());
        assert_eq!(joined(), ["0001", "0002"]);
        assert!(follow(&[2, 3]).is_empty());
        assert_eq!(joined(), ["0002", "0003"]);
        let many: Vec<u16> = (0..300).collect();
        assert!(follow(&many).is_empty(), "more than one socket takes");
        assert_eq!(joined().len(), 300);
        let nowhere = (u32::MAX >> 1, group(1).1);
        let refused = memberships.follow(&[nowhere, group(7)].into());
        assert_eq!(refused.iter().map(|(which, _)| *which).collect::<Vec<_>>(), [nowhere]);
        assert_eq!(joined(), ["0007"]);
        drop(memberships);
        assert!(joined().is_empty());
    }
}
