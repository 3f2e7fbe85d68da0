//! Keys and what they protect: the certificate authority, templates at rest, files with mode 0600.

pub mod ca;
pub mod secret_file;
pub mod vault;
