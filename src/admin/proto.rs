//! `guideway.admin.v1` as `proto/guideway/admin/v1/admin.proto` has it.

#![allow(missing_docs, reason = "the proto file has the words")]
#![allow(clippy::all, clippy::pedantic, reason = "written by a program")]

tonic::include_proto!("guideway.admin.v1");
