//! Status over a unix socket: one API, used by the command line. Must never know devices.
