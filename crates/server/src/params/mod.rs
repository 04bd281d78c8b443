//! Fields that several endpoints share.

pub(crate) mod format;
pub(crate) mod sampling;
pub(crate) mod thinking;
