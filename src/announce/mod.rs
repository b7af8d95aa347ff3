//! Telling the network where VIPs are: gratuitous ARP. Must never know packets in flight.
