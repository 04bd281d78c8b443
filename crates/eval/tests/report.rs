//! The report as a whole: what it says, that nothing written by a model gets out of its place, and
//! that a run of GSM8K's size is reported in seconds.

mod made_up;

use std::time::Instant;

use eval::report::{Report, Versus};
use eval::run::Sample;
use eval::stats::Bootstrap;

const FEW: Bootstrap = Bootstrap { resamples: 200, seed: 0 };

fn equal(a: &str, b: &str) -> bool {
    a == b
}

/// The text between two marks, and what follows.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).expect("marks are there").0
}

#[test]
fn the_page_says_what_was_measured() {
    let manifest = made_up::manifest("m-1.5b", 40, 4);
    let samples = made_up::samples(40, 4, 0.9, 1);
    let report = Report::with(&manifest, &samples, &equal, &FEW);
    for text in [report.to_html(), report.to_markdown()] {
        for part in [
            "3f9a3f9a",
            "7d7d7d7d",
            "m-1.5b",
            "40 items × 4",
            "ponder eval made-up.toml",
            "Level 5",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
    let page = report.to_html();
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(!page.contains("NaN"));
    // Nothing is fetched: no address but the empty icon's.
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("src="));
    let elsewhere = page.matches("href=").count() - page.matches("href=\"#").count();
    assert_eq!(elsewhere, page.matches("href=\"data:,\"").count());
    let rows: serde_json::Value =
        serde_json::from_str(between(&page, "id=\"data\">", "</script>")).unwrap();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 40);
    assert_eq!(rows["rows"][0]["marks"][0].as_array().unwrap().len(), 4);
    assert_eq!(page, Report::with(&manifest, &samples, &equal, &FEW).to_html());
}

#[test]
fn what_models_write_stays_text() {
    let hostile = "</script><script>alert(1)</script><!--<script>\u{2028}<img src=x onerror=alert(1)>\
                   ]]>{{main}}\0|\n# `x` \u{202e}";
    let mut manifest = made_up::manifest(hostile, 2, 1);
    manifest.benchmark = hostile.to_owned();
    manifest.description = hostile.to_owned();
    manifest.command = vec![hostile.to_owned()];
    manifest.machine = Some(hostile.to_owned());
    manifest.model.endpoints = vec![hostile.to_owned()];
    let mut samples = made_up::samples(2, 1, 0.5, 1);
    for sample in &mut samples {
        for text in [
            &mut sample.question,
            &mut sample.reasoning,
            &mut sample.answer,
            &mut sample.finish_reason,
        ] {
            *text = hostile.to_owned();
        }
        sample.item += hostile;
        sample.group = Some(hostile.to_owned());
        sample.task = serde_json::json!({ hostile: hostile });
        sample.details.insert(hostile.to_owned(), true.into());
        sample.verdict = None;
        sample.cannot_tell = Some(hostile.to_owned());
    }
    let report = Report::with(&manifest, &samples, &equal, &FEW);
    let versus = Versus::new(report.clone(), report.clone());
    if let Some(folder) = std::env::var_os("PONDER_REPORT_OUT").map(std::path::PathBuf::from) {
        std::fs::write(folder.join("hostile.html"), versus.to_html()).unwrap();
    }
    for page in [report.to_html(), versus.to_html()] {
        assert!(!page.contains("<img") && !page.contains("alert(1)</script>"));
        assert!(!page.contains('\0'));
        let scripts = page.split_once("id=\"data\">").expect("the list is there").1;
        assert!(!scripts.contains('\u{2028}'));
        // One for each item, one for the list, one that runs; each ends once and nothing ends early.
        assert_eq!(page.matches("<script").count(), 4);
        assert_eq!(page.matches("</script").count(), 4);
        assert_eq!(page.matches("<!--").count(), 0);
        assert!(page.contains("http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-"));
        // What was written is read again as it was.
        let item: serde_json::Value =
            serde_json::from_str(between(&page, "id=\"item-1\">", "</script>")).unwrap();
        assert_eq!(item["runs"][0][0]["answer"], hostile);
    }
    for text in [report.to_markdown(), versus.to_markdown()] {
        // In a fence or between ticks nothing is markup; elsewhere it is escaped.
        let mut fenced = false;
        let outside: String = text
            .lines()
            .map(|line| line.replace("\\`", ""))
            .filter(|line| {
                let fence = line.trim_start().starts_with("```");
                fenced ^= fence;
                !fenced && !line.contains('`')
            })
            .collect();
        assert!(!fenced && outside.contains("&lt;img"));
        assert!(!outside.contains("<img"));
    }
}

#[test]
fn a_run_without_samples_has_a_report() {
    let manifest = made_up::manifest("m", 3, 2);
    let report = Report::new(&manifest, &[], &equal);
    assert!(report.to_html().contains("isn&#39;t finished"));
    assert!(report.to_markdown().contains("0 of 6 samples"));
    let versus = Versus::new(report.clone(), report.clone());
    assert!(versus.to_html().contains("no item in common"));
    assert!(!versus.to_html().contains("NaN"));
    assert_eq!(report.to_lm_eval()["results"]["made-up arithmetic"]["exact_match,none"], "N/A");
}

#[test]
fn json_has_every_figure_and_no_text() {
    let manifest = made_up::manifest("m", 30, 4);
    let samples = made_up::samples(30, 4, 0.9, 1);
    let report = Report::with(&manifest, &samples, &equal, &FEW);
    let json = report.to_json();
    assert_eq!(json["manifest"]["model"]["name"], "m");
    assert_eq!(json["summary"]["accuracy"]["value"], report.summary.accuracy.value);
    assert_eq!(json["summary"]["pass"].as_array().unwrap().len(), 3);
    assert!(!json.to_string().contains("Mina packs"));
    let versus = Versus::new(report.clone(), report).to_json();
    assert_eq!(versus["comparison"]["p"], 1.0);
}

/// The keys lm-evaluation-harness 0.4.13 writes and its table reads.
#[test]
fn results_have_the_harness_shape() {
    let manifest = made_up::manifest("org/m", 30, 4);
    let samples = made_up::samples(30, 4, 0.9, 1);
    let report = Report::with(&manifest, &samples, &equal, &FEW);
    let got = report.to_lm_eval();
    let task = "made-up arithmetic";
    assert_eq!(got["results"][task]["exact_match,none"], report.summary.accuracy.value);
    assert_eq!(got["results"][task]["exact_match_stderr,none"], report.summary.accuracy.se);
    assert_eq!(got["results"][task]["alias"], task);
    assert_eq!(got["results"][task]["pass@4,none"], report.summary.pass[2].estimate.value);
    assert!(got["results"][task]["boxed,none"].is_number());
    assert_eq!(got["n-samples"][task]["original"], 30);
    assert_eq!(got["n-samples"][task]["effective"], 30);
    assert_eq!(got["higher_is_better"][task]["truncated"], false);
    assert_eq!(got["configs"][task]["repeats"], 4);
    assert_eq!(got["versions"][task], got["configs"][task]["metadata"]["version"]);
    assert_eq!(got["git_hash"], "9b11b07");
    assert_eq!(got["model_name_sanitized"], "org__m");
    assert!(got["date"].is_f64());
}

#[test]
fn two_runs_are_compared() {
    let (first, second) = (made_up::manifest("small", 200, 4), made_up::manifest("large", 200, 4));
    let (a, b) = (made_up::samples(200, 4, 0.75, 1), made_up::samples(190, 4, 0.95, 2));
    let versus = Versus::new(
        Report::with(&first, &a, &equal, &FEW),
        Report::with(&second, &b, &equal, &FEW),
    );
    assert_eq!((versus.comparison.items, versus.comparison.only_first), (190, 10));
    assert!(versus.comparison.difference.low > 0.0 && versus.comparison.p < 0.01);
    for text in [versus.to_html(), versus.to_markdown()] {
        assert!(text.contains("B is right more often than A"));
        assert!(text.contains("10 items are only in A"));
    }
}

/// Set `PONDER_REPORT_OUT` to a folder to look at what is made here in a browser.
#[test]
fn a_run_of_full_size_is_reported_in_seconds() {
    let (manifest, other) =
        (made_up::manifest("m-1.5b", 1319, 4), made_up::manifest("m-3b", 1319, 4));
    let samples = made_up::samples(1319, 4, 0.9, 1);
    let more = made_up::samples(1319, 4, 0.95, 2);
    let start = Instant::now();
    let report = Report::new(&manifest, &samples, &equal);
    let counted = start.elapsed();
    let page = report.to_html();
    let took = start.elapsed();
    let text: usize = samples.iter().map(|s: &Sample| s.reasoning.len() + s.answer.len()).sum();
    println!(
        "{counted:.2?} for the figures, {took:.2?} with the page of {} bytes ({text} of text)",
        page.len()
    );
    // Tests are little optimised, and machines are shared: ten times the bound of a release build.
    assert!(took.as_secs_f64() < 20.0, "{took:?}");
    if let Some(folder) = std::env::var_os("PONDER_REPORT_OUT").map(std::path::PathBuf::from) {
        let versus = Versus::new(report.clone(), Report::new(&other, &more, &equal));
        let one = made_up::manifest("m-1.5b", 300, 1);
        let few = made_up::samples(300, 1, 0.9, 1);
        let single = Report::new(&one, &few, &equal);
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("report.html", &page);
        write("report.md", &report.to_markdown());
        write("report.json", &format!("{:#}", report.to_json()));
        write("results.json", &format!("{:#}", report.to_lm_eval()));
        write("versus.html", &versus.to_html());
        write("versus.md", &versus.to_markdown());
        write("single.html", &single.to_html());
    }
}
