//! WAIT FOR PIPE.

use super::super::linked::LinkedEnds;
use super::super::session::Ends;
use super::super::state::{Connection, Phase};
use super::super::status::PipeStatus;
use super::{Goal, PipeSupervisor, WAIT_STEP};
use crate::data::Position;
use crate::error::{Error, Kind, Result};
use crate::link;
use crate::plugin::{AnchorKind, AnchorRequest};
use standpipe_catalog::{Desired, Pipe, Pipes};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A pipe at one look.
struct Look {
    pipe: Arc<standpipe_catalog::Versioned<Pipe>>,
    status: Option<PipeStatus>,
    phase: Phase,
    /// What is seen answers what was asked for last.
    answered: bool,
}

impl PipeSupervisor {
    /// Waits until a pipe is where it is wanted. Errors: 55000 with the pipe's error where it will not come there by itself; 57014 after `timeout`.
    pub async fn wait(&self, uuid: Uuid, goal: Goal, timeout: Option<Duration>) -> Result<Phase> {
        let began = Instant::now();
        let mut target: Option<Position> = None;
        loop {
            let look = self.look(uuid)?;
            let running = look.pipe.desired == Desired::Running;
            if goal == Goal::CaughtUp && target.is_none() && running && look.phase == Phase::Running {
                target = Some(self.present(uuid).await?);
            }
            if look.is_at(goal, target.as_ref()) {
                return Ok(look.phase);
            }
            look.will_come(goal)?;
            if timeout.is_some_and(|t| began.elapsed() >= t) {
                let e = Error::new(Kind::Cancelled, "canceling statement due to timeout of WAIT").with_detail(format!("the phase is {}", look.phase));
                return Err(look.explain(e));
            }
            tokio::time::sleep(WAIT_STEP).await;
        }
    }

    fn look(&self, uuid: Uuid) -> Result<Look> {
        let snapshot = self.catalog.snapshot();
        let pipe = snapshot.get::<Pipes>(&uuid).filter(|p| p.desired != Desired::Dropped).ok_or_else(|| Error::new(Kind::UndefinedObject, "the pipe was dropped"))?;
        let entry = self.entry(uuid);
        let answered = entry.as_ref().is_some_and(|e| e.version.load(Ordering::Acquire) >= pipe.desired_version);
        let status = entry.map(|e| e.live.status());
        let phase = status.as_ref().map_or(Phase::Created, |s| s.phase);
        Ok(Look { pipe, status, phase, answered })
    }

    /// Where the source is now.
    async fn present(&self, uuid: Uuid) -> Result<Position> {
        let snapshot = self.catalog.snapshot();
        let pipe = snapshot.get::<Pipes>(&uuid).ok_or_else(|| Error::new(Kind::UndefinedObject, "the pipe is gone"))?;
        let ends = LinkedEnds::new(self.linker.clone(), Arc::new(pipe.value.clone()), snapshot.clone())?;
        let options = Some(ends.extractor_options());
        let request = AnchorRequest { kind: AnchorKind::Instant, pipe: Some(link::reference(&pipe)), tables: Vec::new(), readers: 0, options };
        Ok(ends.source()?.anchor(request).await?.position)
    }
}

impl Look {
    fn is_at(&self, goal: Goal, target: Option<&Position>) -> bool {
        let position = self.status.as_ref().and_then(|s| s.position.as_ref());
        let reached = || target.is_some_and(|t| position.is_some_and(|p| p.reached(t)));
        // Tables that are to come or to be copied anew are part of what is waited for.
        let done = self.pipe.want.is_empty();
        let (running, completed) = (self.phase == Phase::Running && done, self.phase == Phase::Completed && done);
        let there = match goal {
            Goal::RunningOrCompleted => running || completed,
            Goal::Running => running,
            Goal::CaughtUp => running && reached(),
            Goal::Paused => self.pipe.desired == Desired::Stopped && matches!(self.phase, Phase::Paused | Phase::Created | Phase::Completed),
            Goal::Completed => completed,
        };
        there && (self.answered || goal == Goal::Paused)
    }

    /// With what is wrong with the pipe, if anything is.
    fn explain(&self, e: Error) -> Error {
        let Some(fault) = self.status.as_ref().and_then(|s| s.exception.as_ref()) else { return e };
        let e = fault.detail.iter().fold(e.with_detail(&fault.message), |e, d| e.with_detail(d));
        fault.hint.iter().fold(e, |e, h| e.with_hint(h))
    }

    /// Errors: it will not come there by itself.
    fn will_come(&self, goal: Goal) -> Result<()> {
        let name = &self.pipe.name;
        if goal == Goal::Paused {
            return Ok(());
        }
        // Where all of its tables have FAILED, a running pipe may have been asked to copy them anew.
        let asked = !self.pipe.want.is_empty() && self.status.as_ref().is_some_and(|s| s.connection != Connection::Failed);
        if self.phase == Phase::Failed && self.answered && !asked {
            return Err(self.explain(Error::new(Kind::WrongPhase, format!("pipe \"{name}\" has FAILED"))));
        }
        if self.pipe.desired == Desired::Stopped {
            return Err(Error::new(Kind::WrongPhase, format!("pipe \"{name}\" is STOPPED")).with_hint(format!("Run START PIPE {name}.")));
        }
        Ok(())
    }
}
