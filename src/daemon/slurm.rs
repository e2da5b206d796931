//! What the daemon adds to builds on Slurm: the record, and the end of what is left there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::shared::Shared;
use invirtibuilder_builder::slurm::Cluster;
use invirtibuilder_builder::slurm::book::{BookedBuild, NodeStart, SlurmBook};
use invirtibuilder_core::config::Config;
use invirtibuilder_core::error::Error;
use invirtibuilder_store::slurm::{self, SlurmStart, SlurmSubmission};
use invirtibuilder_system::subprocess::CancellationToken;

/// How long after Slurm did not answer it is asked again for what is left with it.
const AGAIN: Duration = Duration::from_secs(10);

/// How long after it did.
const PACE: Duration = Duration::from_secs(60);

/// The record, as far as builds on Slurm need it.
struct RecordBook(Arc<Shared>);

impl SlurmBook for RecordBook {
    fn sent(&self, name: &str, build: &BookedBuild<'_>, bootstrap: &[u8; 32]) -> Result<()> {
        let BookedBuild { job, attempt, architecture } = *build;
        let it = SlurmSubmission { name, job, attempt, architecture, bootstrap };
        self.0.write_for_job(|tx| slurm::sent(tx, &it))
    }

    fn said(&self, name: &str, number: Option<u64>, node: Option<&str>, words: &str) -> Result<()> {
        self.0.write_for_job(|tx| slurm::said(tx, name, number, node, words))
    }

    fn start(&self, name: &str, start: &NodeStart, session: &[u8; 32]) -> Result<bool> {
        let at = SlurmStart { number: start.number, again: start.again };
        let got = self.0.write_for_job(|tx| slurm::start(tx, name, at, &start.node, session))?;
        if got {
            let NodeStart { number, again, node } = start;
            tracing::info!(name, number, again, node = &node[..], "slurm-started");
        }
        Ok(got)
    }

    fn admit(&self, name: &str, session: &[u8; 32]) -> Result<bool> {
        self.0.write_for_job(|tx| slurm::admit(tx, name, session))
    }

    fn ended(&self, name: &str) -> Result<()> {
        self.0.write_for_job(|tx| slurm::ended(tx, name))
    }

    fn refused(&self, name: &str, peer: &str, why: &str) {
        tracing::warn!(name, peer, why, "slurm-refused");
    }
}

/// Listens for nodes, if the configuration has a cluster, and cancels what is left with Slurm and
/// counts no more: first what an earlier daemon has sent.
pub async fn open(
    config: &Config,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> Result<Option<Arc<Cluster>>> {
    shared.write(slurm::end_all)?;
    let book = Arc::new(RecordBook(shared.clone()));
    let Some(cluster) = Cluster::open(config, book).await? else { return Ok(None) };
    let cluster = Arc::new(cluster);
    tokio::spawn(cancel_left(cluster.clone(), shared.clone(), stop.clone()));
    Ok(Some(cluster))
}

async fn cancel_left(cluster: Arc<Cluster>, shared: Arc<Shared>, stop: CancellationToken) {
    let mut complained = false;
    loop {
        let done = cluster.cancel_left().await;
        let pause = if done.is_ok() { PACE } else { AGAIN };
        if let Err(error) = &done
            && !complained
        {
            shared.complain("what is left with Slurm cannot be cancelled", error);
        }
        complained = done.is_err();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Refuses a configuration by which nodes would have to reach the daemon in another way.
pub fn demand_same_listener(cluster: Option<&Cluster>, new: &Config) -> Result<()> {
    let place = |settings: &invirtibuilder_core::config::SlurmSettings| {
        (settings.listen, settings.address())
    };
    if cluster.map(|it| place(it.settings())) == new.slurm.as_ref().map(place) {
        return Ok(());
    }
    let text = "slurm.listen and slurm.address cannot change while the daemon runs: restart it";
    Err(Error::config(text).into())
}
