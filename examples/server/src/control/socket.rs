//! The local socket: the same API, for users of this machine that may open the file.

use super::auth::Actor;
use crate::Error;
use crate::status::Exchanges;
use crate::status::http::{RequestState, exchange};
use axum::{Extension, Router};
use core::time::Duration;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

/// Connections at a time: more wait. Event streams, of which there are 16 at most, leave some for commands.
const CONNECTIONS: usize = 32;

/// The file of a socket, which is removed with this.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Socket(UnixListener);

impl Socket {
    /// Makes the socket, which only the server's own user can open. One that a server left behind is replaced.
    pub(crate) fn bind(path: &Path) -> Result<(Self, SocketFile), Error> {
        let wrong = |error| Error::Write { path: path.into(), error };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            crate::private_files::create_folder(folder).map_err(wrong)?;
        }
        let left = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        if left && std::os::unix::net::UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).map_err(wrong)?;
        }
        // Made in a folder that only this user can look into. The umask may give the socket a loose mode; no other user can open it before its
        // own mode is set.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hidden = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&hidden);
        std::fs::DirBuilder::new().mode(0o700).create(&hidden).map_err(wrong)?;
        let listener = Self::bind_hidden(&hidden.join("s"), path);
        let _ = std::fs::remove_dir_all(&hidden);
        Ok((Self(listener.map_err(wrong)?), SocketFile(path.into())))
    }

    /// Binds `made`, and gives it its place once it is private.
    fn bind_hidden(made: &Path, path: &Path) -> io::Result<UnixListener> {
        let listener = UnixListener::bind(made)?;
        std::fs::set_permissions(made, Permissions::from_mode(0o600))?;
        std::fs::hard_link(made, path)?;
        Ok(listener)
    }
}

/// Serves the API on the socket until the runtime ends.
pub(crate) async fn serve(
    Socket(listener): Socket,
    routes: Router,
    deadline: Duration,
    exchanges: Exchanges,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let user = stream.peer_cred().map_or_else(|_| "?".into(), |user| user.uid().to_string());
                let routes = routes.clone().layer(Extension(Actor(format!("socket, user {user}"))));
                tokio::spawn(exchange(stream, routes, deadline, slot, RequestState::new(&exchanges)));
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}
