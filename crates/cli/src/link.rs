//! The way to the server: to Zoho it is made before the long scan, so that a wrong setting is told at once; the sandbox
//! is started when the plan stands, so that a run that comes to nothing leaves nothing.

use std::path::Path;
use std::sync::Arc;

use upload::sandbox::Sandbox;
use upload::{Client, FileId};

use crate::config::{Destination, Pace};
use crate::connect::{Connection, connect};
use crate::failure::Result;
use crate::journal::event::Target;
use crate::journal::state::State;
use crate::pipeline::Onward;
use crate::progress::Progress;

/// The way to the server.
pub(crate) struct Link {
    concurrency: usize,
    way: Way,
}

enum Way {
    /// Not made yet.
    Sandbox(Box<Pace>),
    /// Nothing was sent yet.
    Made(Box<Client>),
}

/// An open way, and the sandbox at its end if there is one.
pub(crate) struct OpenLink {
    /// For the pipeline.
    pub(crate) onward: Onward,
    sandbox: Option<Sandbox>,
}

/// The destination as it stands in journals.
pub(crate) fn target_of(destination: &Destination) -> Target {
    match destination {
        Destination::Sandbox => Target::Sandbox,
        Destination::Zoho(zoho) => Target::Zoho { dc: zoho.dc.as_str().to_owned(), org: zoho.org.clone() },
    }
}

impl Link {
    /// Checks all settings of the way; sends nothing and starts nothing.
    ///
    /// # Errors
    /// `Usage` for a setting that is refused.
    pub(crate) async fn new(
        destination: Destination,
        pace: Pace,
        dir: &Path,
        progress: &Arc<Progress>,
    ) -> Result<Link> {
        let concurrency = pace.concurrency;
        let way = match destination {
            Destination::Sandbox => Way::Sandbox(Box::new(pace)),
            Destination::Zoho(_) => {
                let Connection { config, .. } = connect(destination, pace, dir).await?;
                Way::Made(Box::new(Client::new(config, reporter(progress))?))
            }
        };
        Ok(Link { concurrency, way })
    }

    /// Opens the way for a run of which so much is known. `room_bytes` of archives may be under way.
    ///
    /// # Errors
    /// `Unexpected` if the sandbox cannot start.
    pub(crate) async fn open(
        self,
        state: &State,
        dir: &Path,
        room_bytes: u64,
        progress: &Arc<Progress>,
    ) -> Result<OpenLink> {
        let (client, sandbox) = match self.way {
            Way::Made(client) => (*client, None),
            Way::Sandbox(pace) => {
                let Connection { config, sandbox } = connect(Destination::Sandbox, *pace, dir).await?;
                (Client::new(config, reporter(progress))?, sandbox)
            }
        };
        // An answer that repeats a file_id of an earlier run is not believed.
        client.remember(state.file_ids().filter_map(FileId::new));
        let onward = Onward::Upload { client: Arc::new(client), concurrency: self.concurrency, room_bytes };
        Ok(OpenLink { onward, sandbox })
    }
}

impl OpenLink {
    /// A way that leads nowhere.
    pub(crate) fn nowhere() -> OpenLink {
        OpenLink { onward: Onward::Nowhere, sandbox: None }
    }

    /// What the pipeline needs, and what is to be stopped after it.
    pub(crate) fn split(self) -> (Onward, Option<Sandbox>) {
        (self.onward, self.sandbox)
    }
}

fn reporter(progress: &Arc<Progress>) -> Arc<dyn upload::Reporter> {
    Arc::<Progress>::clone(progress)
}
