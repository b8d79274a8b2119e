//! SHOW: sugar over the system views. (SHOW TABLES FROM SOURCE asks the source itself and is in `table`.)

use super::Ident;
use crate::print::{Print, Printer, printed};

#[derive(Clone, PartialEq, Eq)]
pub enum Show {
    Sources { like: Option<String>, dropped: bool },
    CreateSource { name: Ident },
    /// `used_by`: of pipe p and of those that share its connector (IoTDB's WHERE SINK USED BY).
    Pipes { like: Option<String>, used_by: Option<Ident> },
    Pipe { name: Ident },
    CreatePipe { name: Ident },
    /// `SHOW TABLES OF PIPE p` and its like.
    OfPipe { view: PipeView, pipe: Ident, run: Option<String> },
    PipePlugins,
    PluginOptions { plugin: Ident },
    Stages,
    Models,
    Grants,
}

/// What SHOW ... OF PIPE shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeView {
    Tables,
    Runs,
    Tasks,
    Checkpoints,
    Exceptions,
    Events,
    Operators,
    Log,
}

impl PipeView {
    pub fn word(self) -> &'static str {
        match self {
            PipeView::Tables => "TABLES",
            PipeView::Runs => "RUNS",
            PipeView::Tasks => "TASKS",
            PipeView::Checkpoints => "CHECKPOINTS",
            PipeView::Exceptions => "EXCEPTIONS",
            PipeView::Events => "EVENTS",
            PipeView::Operators => "OPERATORS",
            PipeView::Log => "LOG",
        }
    }
}

impl Print for Show {
    fn print(&self, p: &mut Printer<'_>) {
        match self {
            Show::Sources { like, dropped } => {
                p.text("SHOW SOURCES");
                print_like(like.as_deref(), p);
                p.word_if(*dropped, "DROPPED");
            }
            Show::CreateSource { name } => {
                p.text("SHOW CREATE SOURCE ").node(name);
            }
            Show::Pipes { like, used_by } => {
                p.text("SHOW PIPES");
                print_like(like.as_deref(), p);
                if let Some(pipe) = used_by {
                    p.text(" WHERE CONNECTOR USED BY ").node(pipe);
                }
            }
            Show::Pipe { name } => {
                p.text("SHOW PIPE ").node(name);
            }
            Show::CreatePipe { name } => {
                p.text("SHOW CREATE PIPE ").node(name);
            }
            Show::OfPipe { view, pipe, run } => {
                p.text("SHOW ").text(view.word()).text(" OF PIPE ").node(pipe);
                if let Some(run) = run {
                    p.text(" RUN ").string(run);
                }
            }
            Show::PipePlugins => {
                p.text("SHOW PIPEPLUGINS");
            }
            Show::PluginOptions { plugin } => {
                p.text("SHOW OPTIONS OF PIPEPLUGIN ").node(plugin);
            }
            Show::Stages => {
                p.text("SHOW STAGES");
            }
            Show::Models => {
                p.text("SHOW MODELS");
            }
            Show::Grants => {
                p.text("SHOW GRANTS");
            }
        }
    }
}

fn print_like(like: Option<&str>, p: &mut Printer<'_>) {
    if let Some(pattern) = like {
        p.text(" LIKE ").string(pattern);
    }
}

printed!(Show);
