//! `config`: what is in force, and where it comes from.

use super::VerbError;
use crate::args::{Config, ConfigForm};
use crate::exit::Exit;
use crate::{output, settings};
use backends::settings::Layers;
use serde_json::json;

pub(super) fn config(layers: &Layers, args: &Config) -> Result<Exit, VerbError> {
    let settings = settings::settings(layers)?;
    let all = layers.effective(&settings);
    match args.output {
        ConfigForm::Json => {
            let rows: Vec<_> = all
                .iter()
                .map(|e| json!({ "name": e.name, "value": e.value, "source": e.source.to_string() }))
                .collect();
            output::data(&format!("{:#}\n", json!(rows)))?;
        }
        ConfigForm::Table => {
            let mut rows = vec![["NAME", "SOURCE", "VALUE"].map(str::to_owned).to_vec()];
            rows.extend(
                all.iter().map(|e| vec![e.name.to_owned(), e.source.to_string(), output::one_line(&e.value)]),
            );
            let lines = output::columns(&rows, &[], &[], None);
            output::data(&lines.iter().map(|cells| cells.concat() + "\n").collect::<String>())?;
        }
    }
    Ok(Exit::Done)
}
