//! `watched PROMETHEUS`: runs that Prometheus over the running stack with `deploy/prometheus.yml` and the alert rules, and asks
//! it what they and the dashboards ask. To be run after the demo: a metric that nothing has happened to is not there. Ends
//! with an error when a rule does not evaluate, or when an expression reads a metric or a label that no process shows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use lectern_harness::checkout::{self, DevStatus};
use lectern_harness::servers::PortLease;
use serde_json::Value;
use tokio::process::{Child, Command};

/// How long until everything was scraped three times and evaluated, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often here; the files say 15 s and 30 s.
const PACE: &str = "1s";

/// Asks a Prometheus over the running stack what the alert rules and the dashboards ask.
#[derive(Parser)]
struct Arguments {
    /// The program prometheus
    prometheus: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let status = DevStatus::read()?;
    let room = tempfile::tempdir()?;
    let prometheus = Prometheus::start(&arguments.prometheus, &status, room.path()).await?;
    let (rules, panels) = (prometheus.rules().await?, panels()?);
    let end = Instant::now() + PATIENCE;
    loop {
        let wrong = wrong(&prometheus, &rules, &panels).await?;
        if wrong.is_empty() {
            break;
        }
        ensure!(Instant::now() < end, "{}", wrong.join("\n"));
        // what is looked up once a minute may not be there yet
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!(
        "{} alert rules evaluate and {} panels show something, of a live scrape",
        rules.len(),
        panels.len()
    );
    Ok(())
}

/// What rules and panels ask for and Prometheus does not have.
async fn wrong(prometheus: &Prometheus, rules: &[Asked], panels: &[Asked]) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for panel in panels {
        if prometheus.ask(&panel.expression).await?.is_empty() {
            wrong.push(format!("{} shows nothing: {}", panel.name, panel.expression));
        }
    }
    for asked in rules.iter().chain(panels) {
        let Reads { metrics, series, labels } = reads(&asked.expression);
        ensure!(!metrics.is_empty(), "{} reads nothing: {}", asked.name, asked.expression);
        for one in metrics.iter().chain(&series) {
            if prometheus.ask(one).await?.is_empty() {
                wrong.push(format!("{} reads {one}, which no process shows", asked.name));
            }
        }
        for label in labels {
            let of = format!(
                "{{__name__=~\"{}\",{label}!=\"\"}}",
                metrics.iter().cloned().collect::<Vec<_>>().join("|")
            );
            if prometheus.ask(&of).await?.is_empty() {
                wrong.push(format!("{} reads the label {label}, which none of {metrics:?} has", asked.name));
            }
        }
    }
    Ok(wrong)
}

/// What somebody asks of Prometheus.
struct Asked {
    name: String,
    expression: String,
}

/// The expressions of the dashboards.
fn panels() -> anyhow::Result<Vec<Asked>> {
    let mut panels = Vec::new();
    for file in std::fs::read_dir(checkout::root().join("deploy/dashboards"))? {
        let board: Value = serde_json::from_slice(&std::fs::read(file?.path())?)?;
        for panel in board["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().context("a target without expression")?.to_owned();
                panels.push(Asked { name: format!("panel {}", panel["title"]), expression });
            }
        }
    }
    ensure!(panels.len() > 5, "only {} panels", panels.len());
    Ok(panels)
}

/// What an expression names.
#[derive(Default)]
struct Reads {
    metrics: BTreeSet<String>,
    /// Metrics with the values of labels that are asked for exactly: what has not happened yet must stand at zero, because
    /// the first time is no increase of a series that was not there.
    series: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// Reads an expression: a word is a function before `(`, a label in `{}` or behind `by`, else a metric.
fn reads(expression: &str) -> Reads {
    let Reads { mut metrics, mut series, mut labels } = Reads::default();
    let (mut in_selector, mut in_grouping, mut after_by) = (false, false, false);
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            'a'..='z' | 'A'..='Z' | '_' => {
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            // a number, with its unit
            '0'..='9' => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(length);
        match first {
            '{' => in_selector = true,
            '}' => in_selector = false,
            '(' => in_grouping = std::mem::take(&mut after_by),
            ')' => in_grouping = false,
            'a'..='z' | 'A'..='Z' | '_' if in_selector || in_grouping => {
                labels.insert(word.to_owned());
            }
            'a'..='z' | 'A'..='Z' | '_' => match word {
                "by" | "without" | "on" | "ignoring" => after_by = true,
                "and" | "or" | "unless" | "bool" | "offset" => {}
                _ if behind.trim_start().starts_with('(') || behind.trim_start().starts_with("by ") => {}
                _ => {
                    metrics.insert(word.to_owned());
                    let selector = behind.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                    if let Some((matchers, _)) =
                        selector.filter(|(matchers, _)| !matchers.contains(['~', '!']))
                    {
                        series.insert(format!("{word}{{{matchers}}}"));
                    }
                }
            },
            _ => {}
        }
        rest = behind;
    }
    Reads { metrics, series, labels }
}

/// A Prometheus that ends with this program.
struct Prometheus {
    _process: Child,
    _port: PortLease,
    base: String,
    client: reqwest::Client,
    /// How many rules the file has.
    rules: usize,
}

impl Prometheus {
    /// Starts it with the files of `deploy/`, at a faster pace and with the running stack as target.
    async fn start(program: &Path, status: &DevStatus, room: &Path) -> anyhow::Result<Prometheus> {
        let deploy = checkout::root().join("deploy");
        let rules = std::fs::read_to_string(deploy.join("alerts/lectern.rules.yml"))?;
        let config = std::fs::read_to_string(deploy.join("prometheus.yml"))?;
        let target = status.metrics.trim_start_matches("http://").trim_end_matches("/metrics");
        let config = config
            .replace("127.0.0.1:9090", target)
            .replace("scrape_interval: 15s", &format!("scrape_interval: {PACE}"))
            .replace("evaluation_interval: 30s", &format!("evaluation_interval: {PACE}"));
        ensure!(config.contains(target), "deploy/prometheus.yml has another target than it had");
        std::fs::create_dir(room.join("alerts"))?;
        let paced = rules.replace("interval: 30s", &format!("interval: {PACE}"));
        std::fs::write(room.join("alerts/lectern.rules.yml"), paced)?;
        std::fs::write(room.join("prometheus.yml"), config)?;

        let port = PortLease::take()?;
        let address = format!("127.0.0.1:{}", port.number());
        let log = std::fs::File::create(room.join("log"))?;
        let process = Command::new(program)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(room)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let rules = rules.matches("- alert: ").count();
        Ok(Prometheus {
            _process: process,
            _port: port,
            base: format!("http://{address}/api/v1"),
            client,
            rules,
        })
    }

    /// The rules, once all were evaluated and every target was scraped three times.
    async fn rules(&self) -> anyhow::Result<Vec<Asked>> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.evaluated().await {
                Ok(rules) => return Ok(rules),
                Err(error) if Instant::now() > end => return Err(error.context("after a minute")),
                Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }

    async fn evaluated(&self) -> anyhow::Result<Vec<Asked>> {
        let scrapes = self.ask("count_over_time(up[5m])").await?;
        let often = |series: &Value| {
            series["value"][1].as_str().is_some_and(|count| count.parse().is_ok_and(|n: u32| n >= 3))
        };
        ensure!(!scrapes.is_empty() && scrapes.iter().all(often), "not scraped three times: {scrapes:?}");
        ensure!(self.ask("up == 0").await?.is_empty(), "a target does not answer");
        let answer = self.get("rules", &[]).await?;
        let groups = answer["groups"].as_array().context("groups")?;
        let mut rules = Vec::new();
        for rule in groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()) {
            ensure!(rule["health"] == "ok", "{} is {}: {}", rule["name"], rule["health"], rule["lastError"]);
            let text = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
            rules.push(Asked { name: format!("rule {}", text("name")), expression: text("query") });
        }
        ensure!(rules.len() == self.rules, "{} rules of {}", rules.len(), self.rules);
        Ok(rules)
    }

    /// The series that an expression has now.
    async fn ask(&self, expression: &str) -> anyhow::Result<Vec<Value>> {
        let data =
            self.get("query", &[("query", expression)]).await.with_context(|| expression.to_owned())?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    async fn get(&self, what: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let mut url = reqwest::Url::parse(&format!("{}/{what}", self.base))?;
        url.query_pairs_mut().extend_pairs(query);
        let mut answer: Value = serde_json::from_slice(&self.client.get(url).send().await?.bytes().await?)?;
        if answer["status"] != "success" {
            bail!("Prometheus answered {answer}");
        }
        Ok(answer["data"].take())
    }
}

#[cfg(test)]
mod tests {
    use super::reads;

    #[test]
    fn metrics_functions_and_labels_are_told_apart() {
        let read = reads(
            "histogram_quantile(0.95, sum by (le, stream) (rate(a_seconds_bucket{status=~\"401|x{y}\"}[5m]))) > 2\n and max(b_c{d=\"e\"}) == 0",
        );
        assert_eq!(read.metrics.into_iter().collect::<Vec<_>>(), ["a_seconds_bucket", "b_c"]);
        assert_eq!(read.series.into_iter().collect::<Vec<_>>(), ["b_c{d=\"e\"}"]);
        assert_eq!(read.labels.into_iter().collect::<Vec<_>>(), ["d", "le", "status", "stream"]);
    }
}
