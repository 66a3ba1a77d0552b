//! stub
#[derive(Debug)]
pub(crate) struct File;
