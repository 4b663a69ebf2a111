//! lectern-notifications
