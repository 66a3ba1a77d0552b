//! The events of pools, for tests: a `tracing` subscriber that keeps all of them, for the whole process.
//!
//! There must be one before any pool: `tracing` keeps for each place that sends events whether there is a subscriber for it, and a place
//! that a thread passes for the first time while another thread subscribes can be left out.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    panic::resume_unwind,
    sync::{Mutex, Once},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::set_global_default,
};
use tracing_core::span::Current;

/// An event, with the names of the spans in which it was told, the outermost first.
#[derive(Clone, Debug)]
pub struct Told {
    pub name: &'static str,
    pub level: String,
    pub fields: BTreeMap<&'static str, String>,
    pub spans: Vec<String>,
}

impl Told {
    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());

/// Each span so far: its number is its place and one more.
static SPANS: Mutex<Vec<(&'static Metadata<'static>, BTreeMap<&'static str, String>)>> =
    Mutex::new(Vec::new());

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

struct Listener;

/// The prefix of the names of pools whose events make the subscriber panic, after it has kept them.
pub const PANICKING: &str = "panicking";

/// Keeps all events from now on.
pub fn listen() {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| set_global_default(Listener).expect("there is no other subscriber"));
}

/// Returns the events of this name that the pool of this name has told so far.
pub fn told(pool: &str, name: &str) -> Vec<Told> {
    let told = TOLD.lock().unwrap();
    let is_it = |event: &&Told| event.fields.get("pool").is_some_and(|of| of == pool) && event.name == name;
    told.iter().filter(is_it).cloned().collect()
}

/// Returns the events of this name of any pool.
pub fn told_by_any(name: &str) -> Vec<Told> {
    TOLD.lock().unwrap().iter().filter(|event| event.name == name).cloned().collect()
}

/// Returns the only event of this name that the pool has told.
#[track_caller]
pub fn only(pool: &str, name: &str) -> Told {
    match told(pool, name).as_slice() {
        [event] => event.clone(),
        other => panic!("not one event {name}: {other:?}"),
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// Returns the name without that of the crate, which all have.
fn short(name: &'static str) -> &'static str {
    name.trim_start_matches("ringpool::")
}

/// Keeps an event.
fn keep(event: &Event<'_>) {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let metadata = event.metadata();
    let spans = SPANS.lock().unwrap();
    let entered = ENTERED.with_borrow(Vec::clone).into_iter();
    let name = |id: u64| {
        let (metadata, fields) = &spans[id as usize - 1];
        let fields: Vec<_> = fields.iter().map(|(field, value)| format!(" {field}={value}")).collect();
        format!("{} {}{}", metadata.level(), short(metadata.name()), fields.concat())
    };
    let (spans, level) = (entered.map(name).collect(), metadata.level().to_string());
    TOLD.lock().unwrap().push(Told { name: short(metadata.name()), level, fields: fields.0, spans });
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() != "tracing"
    }

    fn event(&self, event: &Event<'_>) {
        keep(event);
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.0.get("pool").is_some_and(|pool| pool.starts_with(PANICKING)) {
            resume_unwind(Box::new("a subscriber that panics, for a test"));
        }
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let mut spans = SPANS.lock().unwrap();
        spans.push((span.metadata(), fields.0));
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.retain(|&id| id != span.into_u64()));
    }

    fn current_span(&self) -> Current {
        match ENTERED.with_borrow(|entered| entered.last().copied()) {
            Some(id) => Current::new(Id::from_u64(id), SPANS.lock().unwrap()[id as usize - 1].0),
            None => Current::none(),
        }
    }
}
