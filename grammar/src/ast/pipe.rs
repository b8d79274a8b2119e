//! Pipes: create, change, start, stop, drop, copy again, wait, explain.

use super::options::{Key, OptionValue, Options};
use super::{Ident, ObjectName};
use crate::print::{Print, Printer, printed};

#[derive(Clone, PartialEq, Eq)]
pub struct CreatePipe {
    pub name: Ident,
    pub if_not_exists: bool,
    pub extractor: Option<Clause>,
    /// In the order they are applied.
    pub processors: Vec<Clause>,
    /// Always there in what `parse` returns.
    pub connector: Option<Clause>,
    pub runtime: Option<Clause>,
    /// None in what `parse` returns as long as the statement is `Unsupported` with it.
    pub schedule: Option<Schedule>,
}

/// One `WITH EXTRACTOR ( ... )` and the like.
#[derive(Clone)]
pub struct Clause {
    /// The word that was used.
    pub word: ClauseWord,
    /// Byte offset of that word (of the parenthesis in the short form).
    pub position: usize,
    pub options: Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClauseWord {
    Extractor,
    Source,
    Processor,
    Connector,
    Sink,
    Runtime,
    /// The connector's options right after the name.
    Short,
}

/// What a clause is about, whichever word was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClauseRole {
    Extractor,
    Processor,
    Connector,
    Runtime,
}

/// `SCHEDULE 'cron' [TIME ZONE 'zone']`.
#[derive(Clone)]
pub struct Schedule {
    pub cron: String,
    /// Byte offset of the cron string.
    pub cron_position: usize,
    pub time_zone: Option<String>,
    /// Byte offset of the zone; of the cron string where there is none.
    pub time_zone_position: usize,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AlterPipe {
    pub name: Ident,
    pub if_exists: bool,
    /// At least one; more than one only of Modify, Replace and Reset.
    pub actions: Vec<AlterPipeAction>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum AlterPipeAction {
    /// Changes the options given.
    Modify(PipePart, Options),
    /// Puts a whole clause in place of the old one.
    Replace(PipePart, Options),
    Reset(Vec<Key>),
    AddTables(Vec<ObjectName>),
    DropTables(Vec<ObjectName>),
    SetSchedule(Schedule),
    DropSchedule,
    PauseSchedule,
    ResumeSchedule,
    Rename(Ident),
}

/// A clause of an existing pipe.
#[derive(Clone)]
pub struct PipePart {
    pub word: ClauseWord,
    /// Which processor, counted from 1.
    pub number: Option<usize>,
    /// Byte offset of the word.
    pub position: usize,
}

#[derive(Clone, PartialEq, Eq)]
pub struct StartPipe {
    pub name: Ident,
}

#[derive(Clone, PartialEq, Eq)]
pub struct StopPipe {
    pub name: Ident,
}

#[derive(Clone, PartialEq, Eq)]
pub struct DropPipe {
    pub name: Ident,
    pub if_exists: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub struct ResyncPipe {
    pub name: Ident,
    /// Empty: every table.
    pub tables: Vec<ObjectName>,
}

#[derive(Clone)]
pub struct WaitForPipe {
    pub name: Ident,
    /// None: RUNNING or COMPLETED.
    pub until: Option<WaitGoal>,
    /// A string, interval, number (seconds) with or without unit, or a parameter.
    pub timeout: Option<OptionValue>,
    /// Byte offset of the timeout's value; of the name where there is none.
    pub timeout_position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitGoal {
    Running,
    CaughtUp,
    Paused,
    Completed,
}

#[derive(Clone, PartialEq, Eq)]
pub struct ExplainPipe {
    pub target: ExplainTarget,
    pub verbose: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub enum ExplainTarget {
    Create(CreatePipe),
    Named(Ident),
}

impl ClauseWord {
    pub fn role(self) -> ClauseRole {
        match self {
            ClauseWord::Extractor | ClauseWord::Source => ClauseRole::Extractor,
            ClauseWord::Processor => ClauseRole::Processor,
            ClauseWord::Connector | ClauseWord::Sink | ClauseWord::Short => ClauseRole::Connector,
            ClauseWord::Runtime => ClauseRole::Runtime,
        }
    }
}

impl ClauseRole {
    /// The word that canonical SQL uses.
    pub fn word(self) -> &'static str {
        match self {
            ClauseRole::Extractor => "EXTRACTOR",
            ClauseRole::Processor => "PROCESSOR",
            ClauseRole::Connector => "CONNECTOR",
            ClauseRole::Runtime => "RUNTIME",
        }
    }
}

impl WaitGoal {
    pub fn words(self) -> &'static str {
        match self {
            WaitGoal::Running => "RUNNING",
            WaitGoal::CaughtUp => "CAUGHT UP",
            WaitGoal::Paused => "PAUSED",
            WaitGoal::Completed => "COMPLETED",
        }
    }
}

impl PartialEq for Clause {
    fn eq(&self, other: &Self) -> bool {
        self.word.role() == other.word.role() && self.options == other.options
    }
}
impl Eq for Clause {}

impl PartialEq for PipePart {
    fn eq(&self, other: &Self) -> bool {
        self.word.role() == other.word.role() && self.number == other.number
    }
}
impl Eq for PipePart {}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.cron == other.cron && self.time_zone == other.time_zone
    }
}
impl Eq for Schedule {}

impl PartialEq for WaitForPipe {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.until == other.until && self.timeout == other.timeout
    }
}
impl Eq for WaitForPipe {}

impl Print for CreatePipe {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("CREATE PIPE").word_if(self.if_not_exists, "IF NOT EXISTS").text(" ").node(&self.name);
        let clauses = self.extractor.iter().chain(&self.processors).chain(&self.connector).chain(&self.runtime);
        for clause in clauses {
            p.text(" ").node(clause);
        }
        if let Some(schedule) = &self.schedule {
            p.text(" ").node(schedule);
        }
    }
}

impl Print for Clause {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("WITH ").text(self.word.role().word()).text(" ").node(&self.options);
    }
}

impl Print for Schedule {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("SCHEDULE ").string(&self.cron);
        if let Some(zone) = &self.time_zone {
            p.text(" TIME ZONE ").string(zone);
        }
    }
}

impl Print for AlterPipe {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("ALTER PIPE").word_if(self.if_exists, "IF EXISTS").text(" ").node(&self.name);
        for action in &self.actions {
            p.text(" ").node(action);
        }
    }
}

impl Print for AlterPipeAction {
    fn print(&self, p: &mut Printer<'_>) {
        match self {
            AlterPipeAction::Modify(part, options) => p.text("MODIFY ").node(part).text(" ").node(options),
            AlterPipeAction::Replace(part, options) => p.text("REPLACE ").node(part).text(" ").node(options),
            AlterPipeAction::Reset(keys) => p.text("RESET (").list(keys).text(")"),
            AlterPipeAction::AddTables(tables) => p.text("ADD TABLE ").list(tables),
            AlterPipeAction::DropTables(tables) => p.text("DROP TABLE ").list(tables),
            AlterPipeAction::SetSchedule(schedule) => p.text("SET ").node(schedule),
            AlterPipeAction::DropSchedule => p.text("DROP SCHEDULE"),
            AlterPipeAction::PauseSchedule => p.text("PAUSE SCHEDULE"),
            AlterPipeAction::ResumeSchedule => p.text("RESUME SCHEDULE"),
            AlterPipeAction::Rename(name) => p.text("RENAME TO ").node(name),
        };
    }
}

impl Print for PipePart {
    fn print(&self, p: &mut Printer<'_>) {
        p.text(self.word.role().word());
        if let Some(number) = self.number {
            p.text(&format!(" {number}"));
        }
    }
}

impl Print for StartPipe {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("START PIPE ").node(&self.name);
    }
}

impl Print for StopPipe {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("STOP PIPE ").node(&self.name);
    }
}

impl Print for DropPipe {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("DROP PIPE").word_if(self.if_exists, "IF EXISTS").text(" ").node(&self.name);
    }
}

impl Print for ResyncPipe {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("RESYNC PIPE ").node(&self.name);
        if !self.tables.is_empty() {
            p.text(" TABLE ").list(&self.tables);
        }
    }
}

impl Print for WaitForPipe {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("WAIT FOR PIPE ").node(&self.name);
        if let Some(goal) = self.until {
            p.text(" UNTIL ").text(goal.words());
        }
        if let Some(timeout) = &self.timeout {
            p.text(" TIMEOUT ").node(timeout);
        }
    }
}

impl Print for ExplainPipe {
    fn print(&self, p: &mut Printer<'_>) {
        p.text("EXPLAIN").word_if(self.verbose, "VERBOSE");
        match &self.target {
            ExplainTarget::Create(create) => p.text(" ").node(create),
            ExplainTarget::Named(name) => p.text(" PIPE ").node(name),
        };
    }
}

printed!(
    CreatePipe,
    Clause,
    Schedule,
    AlterPipe,
    AlterPipeAction,
    PipePart,
    StartPipe,
    StopPipe,
    DropPipe,
    ResyncPipe,
    WaitForPipe,
    ExplainPipe,
);
