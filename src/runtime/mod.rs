//! Worker loop, pinning, snapshot publishing, supervision, the kernel's routes. Must never know YAML.

pub mod netlink;
