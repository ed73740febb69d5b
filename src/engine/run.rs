//! Phase *run*: one scenario and one prompt → one transcript.
//!
//! The agent is a model that is driven through its tool loop, a running agent behind an endpoint, or a recorded transcript.
//! The user is a message, a script, or a model. Tools answer from the scenario's mocks.

pub(crate) mod mocks;
mod other_side;

use std::sync::Arc;

use self::mocks::Mocks;
use self::other_side::from_the_other_side;
use super::calls::{CallFailure, Calls};
use super::stopwatch::Stopwatch;
use super::subject::Subject;
use super::texts::{Held, TooMuchText};
use whetstone_domain::call::{CallKey, ChatAnswer, ChatRequest, Finish, Parameters, Phase, Purpose};
use whetstone_domain::ids::ModelName;
use whetstone_domain::plan::{Plan, RuntimePlan};
use whetstone_domain::scenario::{Scenario, SimulatedUser};
use whetstone_domain::tool::ToolDefinition;
use whetstone_domain::transcript::{Ending, Message, Opaque, Transcript};

/// The default maximum number of messages of a simulated user.
const USER_TURNS: u32 = 10;

/// What a simulated user sends when it has nothing more to say.
const USER_STOP: &str = "###STOP###";

/// Why a scenario could not be run. The prompt is never the cause.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A call gave no answer.
    #[error("{0}")]
    Call(#[from] CallFailure),
    /// The scenario took too long, not counting the time in our own queues.
    #[error("scenario {scenario:?}: not done after {limit:?}; raise spec.execution.scenarioTimeout if it needs longer")]
    Timeout {
        /// The scenario.
        scenario: String,
        /// `spec.execution.scenarioTimeout`.
        limit: std::time::Duration,
    },
    /// The conversation exceeds the limit on its text.
    #[error("scenario {scenario:?}: {error}")]
    TooMuchText {
        /// The scenario.
        scenario: String,
        /// The limit that is exceeded.
        error: TooMuchText,
    },
    /// The model that plays the user said nothing, which is not the agent's fault.
    #[error(
        "scenario {scenario:?}: the simulated user said nothing{}; raise its maxOutputTokens if it was cut short, or name another \
         model in spec.execution.simulatedUser",
        if *.is_cut { " before its tokens were used up" } else { "" }
    )]
    SilentUser {
        /// The scenario.
        scenario: String,
        /// Whether its answer was truncated at its limit on tokens.
        is_cut: bool,
        /// The key of that answer.
        key: CallKey,
    },
    /// No transcript was recorded for this repeat.
    #[error("scenario {scenario:?}: no transcript is recorded for repeat {repeat}")]
    NotRecorded {
        /// The scenario.
        scenario: String,
        /// The repeat, from 0.
        repeat: u32,
    },
}

/// A completed run of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// What the agent did.
    pub transcript: Transcript,
    /// What was unusual about its answers.
    pub unusual: Unusual,
}

/// What was unusual about the agent's answers in one run. They are scored as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unusual {
    /// One of them had neither text nor tool calls.
    pub silent: bool,
    /// One was truncated at the limit on its tokens.
    pub cut_short: bool,
    /// One was stopped by the provider's content filter.
    pub filtered: bool,
    /// In one, the model refused.
    pub refused: bool,
}

impl Unusual {
    /// What a transcript shows.
    fn of(transcript: &Transcript) -> Self {
        Self { silent: transcript.is_ever_silent(), ..Self::default() }
    }

    fn note(&mut self, finish: Finish) {
        match finish {
            Finish::Length => self.cut_short = true,
            Finish::ContentFilter => self.filtered = true,
            Finish::Refusal => self.refused = true,
            Finish::Stop | Finish::ToolCalls | Finish::Other => {}
        }
    }

    /// The evidence of a failure, extended by what explains it.
    #[must_use]
    pub fn explain(self, evidence: &str) -> String {
        let why = [
            (self.cut_short, "an answer was cut short by the limit on its tokens"),
            (self.filtered, "an answer was stopped by the content filter"),
            (self.refused, "the model refused to answer"),
        ];
        let why = why.iter().filter(|(holds, _)| *holds).map(|(_, why)| *why);
        let lines: Vec<&str> = why.chain((!evidence.is_empty()).then_some(evidence)).collect();
        lines.join("\n")
    }
}

/// Runs the agent once in one scenario. The memory of its transcript is counted in `held` until the caller drops that.
///
/// # Errors
/// [`RunError`] if there is no transcript to score.
pub(crate) async fn run(
    plan: &Plan,
    calls: &Calls,
    phase: Phase,
    subject: &Subject,
    scenario: &Scenario,
    repeat: u32,
    held: &Held,
) -> Result<Run, RunError> {
    if subject.transcripts.is_some() || matches!(plan.runtime, RuntimePlan::Replay { .. }) {
        let recorded = subject.recorded(&scenario.id, repeat).cloned();
        let run = recorded.map(|transcript| Run { unusual: Unusual::of(&transcript), transcript });
        return run.ok_or_else(|| RunError::NotRecorded { scenario: scenario.id.to_string(), repeat });
    }
    let limit = plan.execution.scenario_timeout;
    let conversation = Conversation::new(plan, calls, phase, subject, scenario, repeat, held);
    let time = Arc::clone(&conversation.time);
    tokio::select! {
        biased;
        ran = conversation.hold() => ran,
        () = time.reaches(limit) => Err(RunError::Timeout { scenario: scenario.id.to_string(), limit }),
    }
}

/// The parameters of the agent's turns.
struct Agent {
    model: ModelName,
    parameters: Arc<Parameters>,
    tools: Arc<[ToolDefinition]>,
    max_turns: u32,
}

impl Agent {
    fn of(plan: &Plan) -> Option<Self> {
        match &plan.runtime {
            RuntimePlan::Model { model, parameters, max_turns } => Some(Self {
                model: model.clone(),
                parameters: Arc::clone(parameters),
                tools: Arc::clone(&plan.tools),
                max_turns: *max_turns,
            }),
            // The agent behind an endpoint runs its own tools: it is sent none, and one answer ends its turn.
            RuntimePlan::Endpoint { model, parameters } => Some(Self {
                model: model.clone(),
                parameters: Arc::clone(parameters),
                tools: Arc::from([]),
                max_turns: 1,
            }),
            RuntimePlan::Replay { .. } => None,
        }
    }
}

/// A running conversation.
struct Conversation<'a> {
    plan: &'a Plan,
    calls: &'a Calls,
    phase: Phase,
    scenario: &'a Scenario,
    repeat: u32,
    /// The sample number of the answers to the same request: repeats in another series have other numbers.
    answer: u32,
    system: Arc<str>,
    prompt: whetstone_domain::hash::ContentHash,
    agent: Option<Agent>,
    mocks: Mocks<'a>,
    messages: Vec<Message>,
    held: &'a Held,
    time: Arc<Stopwatch>,
    unusual: Unusual,
}

impl<'a> Conversation<'a> {
    fn new(
        plan: &'a Plan,
        calls: &'a Calls,
        phase: Phase,
        subject: &Subject,
        scenario: &'a Scenario,
        repeat: u32,
        held: &'a Held,
    ) -> Self {
        Self {
            plan,
            calls,
            phase,
            scenario,
            repeat,
            answer: plan.execution.series.sample(repeat),
            system: Arc::clone(&subject.system),
            prompt: subject.prompts.hash(),
            agent: Agent::of(plan),
            mocks: Mocks::new(scenario),
            messages: Vec::new(),
            held,
            time: Arc::default(),
            unusual: Unusual::default(),
        }
    }

    /// Adds a message to the conversation.
    fn add(&mut self, message: Message) -> Result<(), RunError> {
        let added = self.held.grow(message.bytes());
        added.map_err(|error| RunError::TooMuchText { scenario: self.scenario.id.to_string(), error })?;
        self.messages.push(message);
        Ok(())
    }

    async fn hold(mut self) -> Result<Run, RunError> {
        let ending = if let Some(user) = &self.scenario.simulated_user {
            self.hold_with_simulated_user(user).await?
        } else if let Some(message) = &self.scenario.message {
            self.add(Message::User { text: message.clone() })?;
            self.agent_answers().await?
        } else {
            self.hold_script().await?
        };
        let transcript = Transcript {
            scenario: self.scenario.id.clone(),
            repeat: self.repeat,
            prompt: Some(self.prompt),
            messages: self.messages,
            ending,
        };
        Ok(Run { unusual: Unusual { silent: transcript.is_ever_silent(), ..self.unusual }, transcript })
    }

    async fn hold_script(&mut self) -> Result<Ending, RunError> {
        let mut ending = Ending::Answered;
        for (index, turn) in self.scenario.conversation.iter().enumerate() {
            if let Some(text) = &turn.user {
                self.add(Message::User { text: text.clone() })?;
                let answer_is_given =
                    self.scenario.conversation.get(index + 1).is_some_and(|next| next.assistant.is_some());
                if !answer_is_given && turn.assistant.is_none() {
                    ending = self.agent_answers().await?;
                }
            }
            if let Some(text) = &turn.assistant {
                self.add(Message::said(text.clone()))?;
            }
        }
        Ok(ending)
    }

    async fn hold_with_simulated_user(&mut self, user: &SimulatedUser) -> Result<Ending, RunError> {
        for turn in 0..user.max_turns.unwrap_or(USER_TURNS) {
            let said = match &user.opening {
                Some(opening) if turn == 0 => opening.clone(),
                _ => self.user_says(user).await?,
            };
            if said.contains(USER_STOP) {
                return Ok(Ending::UserDone);
            }
            self.add(Message::User { text: said })?;
            if self.agent_answers().await? == Ending::TurnLimit {
                return Ok(Ending::TurnLimit);
            }
        }
        Ok(Ending::Answered)
    }

    /// Lets the agent act until it has answered the user.
    async fn agent_answers(&mut self) -> Result<Ending, RunError> {
        let Some(agent) = self.agent.take() else { return Ok(Ending::Answered) };
        let ending = self.agent_turns(&agent).await;
        self.agent = Some(agent);
        ending
    }

    async fn agent_turns(&mut self, agent: &Agent) -> Result<Ending, RunError> {
        for _ in 0..agent.max_turns {
            let request = ChatRequest {
                system: Arc::clone(&self.system),
                messages: self.history(agent),
                tools: Arc::clone(&agent.tools),
                answer_schema: None,
                parameters: Arc::clone(&agent.parameters),
                repeat: self.answer,
            };
            let (_, answer) = self.ask(Purpose::Agent, &agent.model, request).await?;
            let ChatAnswer { text, calls, opaque, finish, .. } = answer;
            self.unusual.note(finish);
            let done = calls.is_empty() || agent.tools.is_empty();
            let asked = if done { Vec::new() } else { calls.clone() };
            self.add(Message::Assistant { text, calls, opaque })?;
            if done {
                return Ok(Ending::Answered);
            }
            for call in asked {
                let answer = self.mocks.answer(&call);
                if let Some(delay) = answer.delay {
                    let _running = self.time.start();
                    tokio::time::sleep(delay).await;
                }
                self.add(Message::Tool {
                    id: call.id,
                    name: call.name,
                    content: answer.content,
                    failed: answer.failed,
                })?;
            }
        }
        Ok(Ending::TurnLimit)
    }

    /// The messages that are sent to the agent. An endpoint has already answered the tool calls of its turns itself: those
    /// that it shows are scored, but not sent back, because providers refuse calls without answers.
    fn history(&self, agent: &Agent) -> Vec<Message> {
        let mut messages = self.messages.clone();
        if agent.tools.is_empty() {
            for message in &mut messages {
                if let Message::Assistant { calls, opaque, .. } = message
                    && !calls.is_empty()
                {
                    calls.clear();
                    // It may refer to the calls, which are removed.
                    *opaque = Opaque::default();
                }
            }
        }
        messages
    }

    /// Requests the next message from the model that plays the user. It sees the conversation from the user's side.
    async fn user_says(&self, user: &SimulatedUser) -> Result<String, RunError> {
        let played = self.plan.execution.user_model.as_ref().expect("a plan with simulated users has a model for them");
        let system = format!(
            "You are simulating a user who talks to an assistant. Play this user, one short message at a time, in the \
             user's own words. Say only what the user knows. Do not invent facts, and do not help the assistant do its \
             work.\nWhen the user has what they came for, or sees that they will not get it, answer only {USER_STOP}\n\n\
             # The user\n{}",
            user.instructions
        );
        let request = ChatRequest {
            system: system.into(),
            messages: from_the_other_side(&self.messages),
            tools: Arc::from([]),
            answer_schema: None,
            parameters: Arc::clone(&played.parameters),
            repeat: self.answer,
        };
        let (key, answer) = self.ask(Purpose::User, &played.model, request).await?;
        if answer.text.trim().is_empty() {
            let is_cut = answer.finish == Finish::Length;
            return Err(RunError::SilentUser { scenario: self.scenario.id.to_string(), is_cut, key });
        }
        Ok(answer.text)
    }

    async fn ask(
        &self,
        purpose: Purpose,
        model: &ModelName,
        request: ChatRequest,
    ) -> Result<(CallKey, ChatAnswer), CallFailure> {
        self.calls.chat_and_key(self.phase, purpose, Some(&self.scenario.id), model, request, Some(&self.time)).await
    }
}
