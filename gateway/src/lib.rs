//! lectern-gateway
