//! Access: grants, and the question whether any of them is in force.

pub(crate) mod check;
pub(crate) mod grants;
