//! The metrics table (placeholder while it is being written).
