//! The real binary over real AF_XDP in network namespaces: one file a theme.
//!
//! Tests take turns (each has both cores for itself), need root, and leave nothing behind.

#![cfg(feature = "program")]

mod announce;
mod ask;
mod bridge;
mod capture;
mod change;
mod chaos;
mod crash;
mod decap;
mod doctor;
mod drain;
mod dsr;
mod errors;
mod feed;
mod fragments;
mod gone;
mod health;
mod ipv6;
mod judge;
mod lab;
mod modes;
mod mtu;
mod nat;
mod neighbours;
mod packaged;
mod queues;
mod records;
mod reload;
mod running;
mod sctp;
mod storm;
mod support;
mod tools;
mod top;
mod uml;
mod vlan;
