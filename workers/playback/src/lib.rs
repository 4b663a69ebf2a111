//! lectern-playback
