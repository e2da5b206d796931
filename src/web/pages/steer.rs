//! What visitors have the service do: each is looked at first, and done when they confirm it.
//!
//! Whether they may is the API's decision alone. What it refuses is shown with its reason, and with
//! the command that does the same.

use std::fmt::Display;

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use invirtibuilder_api::caller::Whoami;
use invirtibuilder_api::pocket::{PocketSummary, RemoveRequest, Removed};
use invirtibuilder_api::problem::Problem;
use invirtibuilder_api::submit::{
    Manner, Preview, Promotion, Rebuild, Submission, Submitted, Would,
};
use invirtibuilder_core::text::one_line;

use crate::arrival::Forged;
use crate::credentials::VisitorCredentials;
use crate::frame::{Frame, Tab};
use crate::html::page;
use crate::refusal::{Refused, RefusedPage};
use crate::upstream::problem;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "submit.html")]
struct SubmitPage {
    frame: Frame,
    form: SubmitForm,
    pockets: Vec<Choice>,
    problem: Option<Problem>,
    command: Option<String>,
}

/// A pocket that can be chosen.
struct Choice {
    name: String,
    is_allowed: bool,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    frame: Frame,
    /// What is asked, as a heading.
    heading: String,
    /// The word of the button.
    button: &'static str,
    /// The path that does it.
    action: String,
    /// The fields that are sent again.
    fields: Vec<(&'static str, String)>,
    /// What would happen.
    preview: Option<Preview>,
    /// What cannot be undone.
    warning: Option<String>,
    /// The command that does the same.
    command: String,
}

impl ConfirmPage {
    /// Tells whether anything would be done.
    fn does_something(&self) -> bool {
        self.preview.as_ref().is_none_or(|preview| preview.would != Would::Nothing)
    }

    fn would(&self, preview: &Preview) -> &'static str {
        match preview.would {
            Would::Build => "It would be built.",
            Would::Copy => "What was built before would be copied.",
            Would::Nothing => "Nothing would be done.",
        }
    }
}

/// How far a visitor has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormStage {
    /// They want to see what would happen.
    #[default]
    Look,
    /// They have seen it.
    Confirm,
}

/// The form of a submission.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SubmitForm {
    pocket: String,
    package: String,
    commit: String,
    priority: Option<String>,
    forgery: String,
    stage: FormStage,
}

/// The form of a promotion.
#[derive(Debug, Deserialize)]
pub struct PromoteForm {
    package: String,
    from: String,
    to: String,
    forgery: String,
    #[serde(default)]
    stage: FormStage,
}

/// The form of a rebuild, or of a removal.
#[derive(Debug, Deserialize)]
pub struct ReasonForm {
    pocket: String,
    package: String,
    #[serde(default)]
    reason: String,
    forgery: String,
    #[serde(default)]
    stage: FormStage,
}

/// A form that has nothing but a button.
#[derive(Debug, Deserialize)]
pub struct ButtonForm {
    /// What shows that it is ours.
    pub forgery: String,
}

impl Visit {
    /// Makes sure that a form is ours, and that somebody is signed in who has sent it.
    pub fn is_ours(&self, forgery: &str) -> Result<(), Refused> {
        let VisitorCredentials::Session(session) = &self.credentials else {
            return Err(self.refuse(problem(StatusCode::UNAUTHORIZED, 77, "nobody is signed in")));
        };
        if self.forged == Forged::No && session.is_ours(forgery) {
            return Ok(());
        }
        Err(self.refuse(problem(
            StatusCode::FORBIDDEN,
            77,
            "this form is not from a page of yours: open the page again, and send it from there",
        )))
    }

    /// Says why something was not done, and which command does the same.
    pub fn not_done(&self, problem: Problem, command: String) -> Refused {
        if problem.status == 401 {
            return self.refuse(problem);
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let frame = self.frame("Not done", Tab::None);
        let shown = RefusedPage { frame, problem, command: Some(command) };
        Refused(Box::new(page(status, &shown)))
    }

    /// Asks the API what would happen.
    async fn preview(&self, path: &str, value: &impl Serialize) -> Result<Preview, Problem> {
        self.post(&format!("{path}?dry_run=true"), value).await
    }

    /// Has the API say what a wish would come to, and asks whether it shall; or has it fulfilled, if
    /// the visitor has confirmed it.
    async fn look_or_do(
        &self,
        (stage, path): (FormStage, &str),
        wish: &impl Serialize,
        mut shown: ConfirmPage,
    ) -> Result<Response, Refused> {
        if stage == FormStage::Confirm {
            let then = |done: Submitted| self.frame.to("jobs", done.job);
            return self.act(path, wish, shown.command, then).await;
        }
        let preview = self.preview(path, wish).await;
        shown.preview =
            Some(preview.map_err(|problem| self.not_done(problem, shown.command.clone()))?);
        Ok(page(StatusCode::OK, &shown))
    }

    /// Has the API do something to a job, and goes to that.
    async fn press(&self, id: &str, form: &ButtonForm, verb: &str) -> Result<Response, Refused> {
        let id = self.job(id)?;
        self.is_ours(&form.forgery)?;
        let command = command(&self.frame, &[&verb, &id]);
        let then = |_: IgnoredAny| self.frame.to("jobs", id);
        self.act(&format!("/api/v1/jobs/{id}/{verb}"), &(), command, then).await
    }

    /// Has the API do something, and goes to what comes of it.
    async fn act<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
        command: String,
        then: impl FnOnce(T) -> String,
    ) -> Result<Response, Refused> {
        let done = self.post::<T>(path, value).await;
        let done = done.map_err(|problem| self.not_done(problem, command))?;
        Ok(Redirect::to(&then(done)).into_response())
    }
}

/// Writes a command that does the same over remctl.
pub fn command(frame: &Frame, words: &[&dyn Display]) -> String {
    let mut line = format!("remctl {} build", frame.server);
    for word in words {
        let word = one_line(&word.to_string());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+~/:@=^{}".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            line.extend([" ", &word]);
        } else {
            line.extend([" '", &word.replace('\'', r"'\''"), "'"]);
        }
    }
    line
}

/// Shows the form of a submission.
pub async fn form(visit: Visit, Query(form): Query<SubmitForm>) -> Result<Response, Refused> {
    show(&visit, form, None, None).await
}

async fn show(
    visit: &Visit,
    form: SubmitForm,
    problem: Option<Problem>,
    command: Option<String>,
) -> Result<Response, Refused> {
    let (pockets, who) = tokio::join!(
        visit.get::<Vec<PocketSummary>>("/api/v1/pockets"),
        visit.get::<Whoami>("/api/v1/whoami")
    );
    let (pockets, who) = (pockets?, who?);
    let choice = |pocket: PocketSummary| Choice {
        is_allowed: who.may_submit_to.contains(&pocket.pocket),
        is_chosen: pocket.pocket.as_str() == form.pocket,
        name: pocket.pocket.to_string(),
    };
    let mut pockets: Vec<Choice> = pockets.into_iter().map(choice).collect();
    pockets.sort_by_key(|choice| !choice.is_allowed);
    let frame = visit.frame("Submit", Tab::Submit);
    let status = problem.as_ref().map_or(200, |problem| problem.status);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok(page(status, &SubmitPage { frame, form, pockets, problem, command }))
}

/// Shows what a submission would come to, or makes it.
pub async fn submit(visit: Visit, Form(form): Form<SubmitForm>) -> Result<Response, Refused> {
    visit.is_ours(&form.forgery)?;
    let trimmed = |text: &str| text.trim().to_owned();
    let submission = Submission {
        pocket: trimmed(&form.pocket),
        package: trimmed(&form.package),
        commit: trimmed(&form.commit),
        manner: Manner { priority: form.priority.is_some(), follow: false },
    };
    let Submission { pocket, package, commit, .. } = &submission;
    let command = {
        let mut words: Vec<&dyn Display> = vec![&"submit", pocket, package, commit];
        if form.priority.is_some() {
            words.push(&"--priority");
        }
        command(&visit.frame, &words)
    };
    let path = "/api/v1/submissions";
    if form.stage == FormStage::Confirm {
        let frame = visit.frame.clone();
        let then = |done: Submitted| frame.to("jobs", done.job);
        return visit.act(path, &submission, command, then).await;
    }
    match visit.preview(path, &submission).await {
        Ok(preview) => {
            // What was shown is what is confirmed, though a branch moves meanwhile.
            let mut fields = vec![
                ("pocket", preview.pocket.to_string()),
                ("package", preview.package.to_string()),
                ("commit", preview.commit.to_string()),
            ];
            if form.priority.is_some() {
                fields.push(("priority", "yes".to_owned()));
            }
            let heading = format!("{} to {}", preview.package, preview.pocket);
            let shown = ConfirmPage {
                frame: visit.frame("Submit", Tab::Submit),
                heading: format!("Submit {heading}?"),
                button: "Submit",
                action: visit.frame.at("/submit"),
                fields,
                preview: Some(preview),
                warning: None,
                command,
            };
            Ok(page(StatusCode::OK, &shown))
        }
        Err(problem) if problem.status == 401 => Err(visit.refuse(problem)),
        Err(problem) => show(&visit, form, Some(problem), Some(command)).await,
    }
}

/// Shows what a promotion would come to, or makes it.
pub async fn promote(visit: Visit, Form(form): Form<PromoteForm>) -> Result<Response, Refused> {
    visit.is_ours(&form.forgery)?;
    let PromoteForm { package, from, to, .. } = form;
    let promotion = Promotion { package, from, to, manner: Manner::default() };
    let Promotion { package, from, to, .. } = &promotion;
    let command = command(&visit.frame, &[&"promote", package, from, to]);
    let fields = vec![("package", package.clone()), ("from", from.clone()), ("to", to.clone())];
    let shown = ConfirmPage {
        frame: visit.frame("Promote", Tab::Packages),
        heading: format!("Promote {package} from {from} to {to}?"),
        button: "Promote",
        action: visit.frame.at("/promote"),
        fields,
        preview: None,
        warning: None,
        command,
    };
    visit.look_or_do((form.stage, "/api/v1/promotions"), &promotion, shown).await
}

/// Shows what a rebuild would come to, or makes it.
pub async fn rebuild(visit: Visit, Form(form): Form<ReasonForm>) -> Result<Response, Refused> {
    visit.is_ours(&form.forgery)?;
    let ReasonForm { pocket, package, reason, stage, .. } = form;
    let rebuild = Rebuild { pocket, package, reason, manner: Manner::default() };
    let Rebuild { pocket, package, reason, .. } = &rebuild;
    let command = command(&visit.frame, &[&"rebuild", pocket, package, &"--reason", reason]);
    let fields =
        vec![("package", package.clone()), ("pocket", pocket.clone()), ("reason", reason.clone())];
    let shown = ConfirmPage {
        frame: visit.frame("Rebuild", Tab::Packages),
        heading: format!("Rebuild {package} in {pocket}?"),
        button: "Rebuild",
        action: visit.frame.at("/rebuild"),
        fields,
        preview: None,
        warning: None,
        command,
    };
    visit.look_or_do((stage, "/api/v1/rebuilds"), &rebuild, shown).await
}

/// Asks whether a package is to be taken out of a pocket, or does it.
pub async fn remove(visit: Visit, Form(form): Form<ReasonForm>) -> Result<Response, Refused> {
    visit.is_ours(&form.forgery)?;
    let ReasonForm { pocket, package, reason, stage, .. } = form;
    let removal = RemoveRequest { pocket, package, reason };
    let RemoveRequest { pocket, package, reason } = &removal;
    let command = command(&visit.frame, &[&"remove", pocket, package, &"--reason", reason]);
    if stage == FormStage::Confirm {
        let frame = visit.frame.clone();
        let then = |done: Removed| frame.to("packages", done.held.package);
        return visit.act("/api/v1/removals", &removal, command, then).await;
    }
    let fields =
        vec![("package", package.clone()), ("pocket", pocket.clone()), ("reason", reason.clone())];
    let warning = format!(
        "Clients of {pocket} get {package} no more. It can come back by a submission or a promotion."
    );
    let shown = ConfirmPage {
        frame: visit.frame("Remove", Tab::Packages),
        heading: format!("Remove {package} from {pocket}?"),
        button: "Remove",
        action: visit.frame.at("/remove"),
        fields,
        preview: None,
        warning: Some(warning),
        command,
    };
    Ok(page(StatusCode::OK, &shown))
}

/// Stops a job.
pub async fn cancel(
    visit: Visit,
    Path(id): Path<String>,
    Form(form): Form<ButtonForm>,
) -> Result<Response, Refused> {
    visit.press(&id, &form, "cancel").await
}

/// Queues a job again.
pub async fn retry(
    visit: Visit,
    Path(id): Path<String>,
    Form(form): Form<ButtonForm>,
) -> Result<Response, Refused> {
    visit.press(&id, &form, "retry").await
}

#[cfg(test)]
mod tests {
    use crate::frame::tests::frame;
    use crate::pages::steer::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let line = |words: &[&dyn Display]| command(&frame(), words);
        assert_eq!(
            line(&[&"submit", &"prod", &"hello", &"3f2a91c"]),
            "remctl build.example.org build submit prod hello 3f2a91c"
        );
        assert_eq!(
            line(&[&"remove", &"it's; rm -rf /", &""]),
            r"remctl build.example.org build remove 'it'\''s; rm -rf /' ''"
        );
        assert!(!line(&[&"a\nb"]).contains('\n'));
    }
}
