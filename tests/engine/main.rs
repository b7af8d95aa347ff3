//! The engine by its public face: frames in, verdicts and frames out, and every counter compared.

mod ahead;
mod cut;
mod direct;
mod dnat;
mod dscp;
mod errors;
mod families;
mod fragment_limits;
mod fragment_modes;
mod fragment_rows;
mod fragments;
mod frames;
mod gone;
mod hand_over;
mod hostile;
mod model;
mod nat;
mod path_mtu;
mod pressure;
mod restart;
mod rows;
mod rules;
mod sctp;
mod state;
mod tunnel;
mod world;
