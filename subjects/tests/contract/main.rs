//! The contract, tested as data: its tables, its frozen examples, its schemas, and how bytes become a request.

mod decode;
mod faults;
mod golden;
mod meanings;
mod properties;
mod schema;
mod tables;
