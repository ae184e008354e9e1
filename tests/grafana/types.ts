// A dashboard by Grafana's own types, as strict as JSON allows: enums by their values, each panel by its plugin's options.
import type { Dashboard, FieldConfig, FieldConfigSource, Panel, RowPanel, VariableModel } from '@grafana/schema';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Plain<T> = T extends string
  ? `${T}`
  : T extends Array<infer U>
    ? Array<Plain<U>>
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : T;

type Source = { type: 'prometheus'; uid: '${datasource}' };
type Query = {
  datasource: Source;
  expr: string;
  format: 'table' | 'time_series';
  instant: boolean;
  range: boolean;
  legendFormat: string;
  refId: string;
};
type Typed<Kind extends string, Options, Custom> = Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> &
  Required<Pick<Panel, 'id' | 'title' | 'description' | 'gridPos'>> & {
    type: Kind;
    datasource: Source;
    options: Options;
    targets: Query[];
    fieldConfig: Omit<FieldConfigSource, 'defaults'> & {
      defaults: Omit<FieldConfig, 'custom'> & { custom?: Custom };
    };
  };
type Own =
  | Typed<'stat', stat.Options, never>
  | Typed<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Typed<'table', table.Options, Partial<table.FieldConfig>>
  | RowPanel;

export type Shipped = Plain<
  Omit<Dashboard, 'panels' | 'templating'> & { panels: Own[]; templating: { list: VariableModel[] } }
>;
