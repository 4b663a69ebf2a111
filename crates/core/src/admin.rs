//! The admin port (placeholder while it is being written).
