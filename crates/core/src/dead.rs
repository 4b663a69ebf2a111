//! Dead letters (placeholder while it is being written).
